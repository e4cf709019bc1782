//! The ticket's font: widths of text, and the part of the font that a ticket takes along.

mod part;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{LazyLock, OnceLock},
};

use flate2::Compression;
use pdf_writer::{Str, types::SystemInfo};
use ttf_parser::{Face, GlyphId, RawFace};
use unicode_normalization::UnicodeNormalization as _;

pub(super) use self::part::Part;
use super::TicketError;

/// Shown for what the font lacks.
const BOX: char = '\u{25a1}';
/// How numbers of glyphs are to be read: as they are.
pub(super) const SYSTEM: SystemInfo<'static> =
    SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// A font file that is part of the binary.
pub(super) struct Font {
    /// Its PostScript name.
    pub(super) name: &'static str,
    face: Face<'static>,
    raw: RawFace<'static>,
    /// Glyph and advance of the first letters of Unicode, those of the languages around: the font's own tables are searched
    /// for each letter, which was a quarter of a ticket.
    near: Vec<Option<(u16, u32)>>,
    common: OnceLock<Result<Common, TicketError>>,
}

/// The first letter that is not near: Latin, and what extends it, ends here.
const FAR: u32 = 0x250;

/// The letters of a text, loose accents put together with theirs.
fn letters(text: &str) -> impl Iterator<Item = char> {
    // ASCII has none.
    let (plain, other) = if text.is_ascii() { (text, "") } else { ("", text) };
    plain.chars().chain(other.nfc())
}

/// What nearly every ticket needs, cut out and compressed once: English, French and their neighbours.
struct Common {
    part: Part,
    numbers: BTreeMap<u16, u16>,
}

static REGULAR: LazyLock<Result<Font, TicketError>> =
    LazyLock::new(|| Font::of("DejaVuSans", include_bytes!("../../fonts/DejaVuSans.ttf")));
static BOLD: LazyLock<Result<Font, TicketError>> =
    LazyLock::new(|| Font::of("DejaVuSans-Bold", include_bytes!("../../fonts/DejaVuSans-Bold.ttf")));

impl Font {
    /// The font of running text.
    pub(super) fn regular() -> Result<&'static Self, TicketError> {
        REGULAR.as_ref().map_err(Clone::clone)
    }

    /// The font of what matters.
    pub(super) fn bold() -> Result<&'static Self, TicketError> {
        BOLD.as_ref().map_err(Clone::clone)
    }

    fn of(name: &'static str, data: &'static [u8]) -> Result<Self, TicketError> {
        let failed = |e: ttf_parser::FaceParsingError| TicketError(format!("{name}: {e}"));
        let (face, raw) = (Face::parse(data, 0).map_err(failed)?, RawFace::parse(data, 0).map_err(failed)?);
        let mut font = Self { name, face, raw, near: Vec::new(), common: OnceLock::new() };
        let near = |letter| font.searched(char::from_u32(letter)?).map(|glyph| (glyph, font.measured(glyph)));
        font.near = (0..FAR).map(near).collect();
        Ok(font)
    }

    fn common(&self) -> Result<&Common, TicketError> {
        let made = self.common.get_or_init(|| {
            let signs = "\u{a0}£«»·°Œœ–—‘’“”…€".chars().chain([BOX]);
            let mut letters: Vec<(u16, char)> = Vec::new();
            for letter in (' '..='~').chain('À'..='ÿ').chain(signs) {
                let glyph = self.glyph(letter);
                if letters.iter().all(|(known, _)| *known != glyph) {
                    letters.push((glyph, letter));
                }
            }
            let numbers = (1..).zip(&letters).map(|(number, (glyph, _))| (*glyph, number)).collect();
            Ok(Common { part: Part::of(self, letters, Compression::best())?, numbers })
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// The glyph of a letter; of what the font lacks, that of a box.
    fn glyph(&self, letter: char) -> u16 {
        self.known(letter).or_else(|| self.known(BOX)).unwrap_or_default()
    }

    fn known(&self, letter: char) -> Option<u16> {
        match self.near.get(letter as usize) {
            Some(near) => near.map(|(glyph, _)| glyph),
            None => self.searched(letter),
        }
    }

    fn searched(&self, letter: char) -> Option<u16> {
        // The narrow spaces of French numbers are not in every cut of the font; a space is a space.
        let letter = if matches!(letter, '\u{202f}' | '\u{2009}' | '\t') { '\u{a0}' } else { letter };
        self.face.glyph_index(letter).map(|g| g.0)
    }

    /// Every letter of the text is in the font.
    pub(super) fn has_all(&self, text: &str) -> bool {
        letters(text).all(|c| self.known(c).is_some())
    }

    /// How wide a glyph is, in thousandths of the font's size.
    fn measured(&self, glyph: u16) -> u32 {
        let units = u32::from(self.face.units_per_em()).max(1);
        u32::from(self.face.glyph_hor_advance(GlyphId(glyph)).unwrap_or_default()) * 1000 / units
    }

    /// How wide a text is, in thousandths of the font's size.
    pub(super) fn width(&self, text: &str) -> u32 {
        let advance = |letter: char| match self.near.get(letter as usize) {
            Some(Some((_, advance))) => *advance,
            _ => self.measured(self.glyph(letter)),
        };
        letters(text).map(advance).sum()
    }

    /// Ascent, descent, height of capitals, and the box around all glyphs, in thousandths.
    pub(super) fn metrics(&self) -> (i32, i32, i32, [i32; 4]) {
        let units = i32::from(self.face.units_per_em()).max(1);
        let of = |value: i16| i32::from(value) * 1000 / units;
        let around = self.face.global_bounding_box();
        (
            of(self.face.ascender()),
            of(self.face.descender()),
            of(self.face.capital_height().unwrap_or(self.face.ascender())),
            [of(around.x_min), of(around.y_min), of(around.x_max), of(around.y_max)],
        )
    }
}

/// A font on one ticket: texts become numbers of glyphs, and it is known which letters the ticket takes along.
pub(super) struct Typeset {
    /// The font.
    pub(super) font: &'static Font,
    common: &'static Common,
    /// Letters beyond the common ones, in the order in which they were met.
    more: Vec<(u16, char)>,
}

impl Typeset {
    /// Nothing is set yet.
    pub(super) fn of(font: &'static Font) -> Result<Self, TicketError> {
        Ok(Self { font, common: font.common()?, more: Vec::new() })
    }

    /// A text as numbers, two bytes each; letters with loose accents are put together first.
    pub(super) fn set(&mut self, text: &str) -> Vec<u8> {
        letters(text).flat_map(|letter| self.number(letter).to_be_bytes()).collect()
    }

    fn number(&mut self, letter: char) -> u16 {
        let glyph = self.font.glyph(letter);
        if let Some(number) = self.common.numbers.get(&glyph) {
            return *number;
        }
        let place = self.more.iter().position(|(known, _)| *known == glyph).unwrap_or_else(|| {
            self.more.push((glyph, letter));
            self.more.len() - 1
        });
        u16::try_from(self.common.part.letters.len() + place + 1).unwrap_or_default()
    }

    /// What the ticket takes along.
    pub(super) fn part(&self) -> Result<Cow<'static, Part>, TicketError> {
        if self.more.is_empty() {
            return Ok(Cow::Borrowed(&self.common.part));
        }
        let letters = [self.common.part.letters.as_slice(), &self.more].concat();
        Part::of(self.font, letters, Compression::new(4)).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_accents_join_and_unknown_scripts_become_boxes() {
        let font = Font::regular().unwrap();
        let mut set = Typeset::of(font).unwrap();
        assert_eq!(set.set("Ame\u{301}lie"), set.set("Amélie"));
        assert!(font.has_all("Zażółć gęślą jaźń, Đặng Thị Ngọc, 1\u{202f}234,50\u{a0}€"));
        assert!(!font.has_all("田中") && !font.has_all("שלום"));
        assert_eq!(set.set("田"), set.set("\u{25a1}"));
    }

    #[test]
    fn what_is_common_is_cut_once_and_what_is_not_goes_along_behind_it() {
        let font = Font::bold().unwrap();
        let mut set = Typeset::of(font).unwrap();
        let text = "Départ à 9 h 30 · 1\u{202f}234,50\u{a0}€ — “l’été”, Zoë O’Brien, 3 × Ñandú";
        let common = set.set(text);
        let part = set.part().unwrap();
        assert!(matches!(part, Cow::Borrowed(_)));
        assert!(part.file.len() < 16_000, "{} bytes", part.file.len());
        let number = |at: usize| usize::from(u16::from_be_bytes([common[at], common[at + 1]]));
        for (at, letter) in text.chars().enumerate().filter(|(_, letter)| *letter != '\u{202f}') {
            let (glyph, stands_for) = part.letters[number(at * 2) - 1];
            assert_eq!((glyph, stands_for), (font.glyph(letter), letter));
        }

        let greek = set.set("Ωμέγα ω");
        assert_eq!(set.set(text), common, "numbers stay");
        let more = set.part().unwrap();
        assert!(matches!(more, Cow::Owned(_)));
        assert_eq!(more.letters.len(), part.letters.len() + 6);
        assert_eq!(more.widths.len(), more.letters.len());
        assert_eq!(usize::from(u16::from_be_bytes([greek[0], greek[1]])), part.letters.len() + 1);
        assert_eq!(greek[10..12], set.set(" "), "a space is common");
    }
}
