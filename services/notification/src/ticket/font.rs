//! The ticket's font: widths of text, and the part of the font that a ticket takes along.

mod part;

use std::sync::{LazyLock, OnceLock};

use pdf_writer::{Str, types::SystemInfo};
use ttf_parser::{Face, GlyphId, RawFace};
use unicode_normalization::UnicodeNormalization as _;

pub(super) use self::part::Part;
use super::{TicketError, deflated, deflated_well};

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
    // Before the first loose accent of Unicode there is nothing to put together, and among punctuation and currencies
    // neither: so it is for nearly every text, and to find out letter by letter takes longer than to write it.
    let is_plain = |letter| matches!(letter, ..'\u{300}' | '\u{2010}'..='\u{20cf}');
    let (plain, other) = if text.chars().all(is_plain) { (text, "") } else { ("", text) };
    plain.chars().chain(other.nfc())
}

/// What nearly every ticket needs, cut out and compressed once: English, French and their neighbours.
struct Common {
    part: Part,
    /// The number of each glyph of the whole font; 0: it is not common.
    numbers: Vec<u16>,
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

    /// The letters of all tickets.
    pub(super) fn common_part(&self) -> Result<&Part, TicketError> {
        self.common().map(|common| &common.part)
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
            let mut numbers = vec![0; usize::from(self.face.number_of_glyphs())];
            for (number, (glyph, _)) in (1..).zip(&letters) {
                if let Some(place) = numbers.get_mut(usize::from(*glyph)) {
                    *place = number;
                }
            }
            Ok(Common { part: Part::of(self, &letters, deflated_well)?, numbers })
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
///
/// A ticket has the common letters as one font, which is the same in every ticket, and the few that it needs beyond them
/// as another one: to cut and compress all of them anew took longer than everything else in an e-mail.
pub(super) struct Typeset {
    /// The font.
    pub(super) font: &'static Font,
    common: &'static Common,
    /// Letters beyond the common ones, in the order in which they were met.
    more: Vec<(u16, char)>,
}

/// Which part of a font the numbers of a text belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The letters of all tickets.
    Common,
    /// The letters of this ticket.
    Further,
}

impl Typeset {
    /// Nothing is set yet.
    pub(super) fn of(font: &'static Font) -> Result<Self, TicketError> {
        Ok(Self { font, common: font.common()?, more: Vec::new() })
    }

    /// A text as numbers, two bytes each, in stretches of one part; letters with loose accents are put together first.
    pub(super) fn set(&mut self, text: &str) -> Vec<(Of, Vec<u8>)> {
        let mut stretches: Vec<(Of, Vec<u8>)> = Vec::new();
        for letter in letters(text) {
            let (of, number) = self.number(letter);
            match stretches.last_mut() {
                Some((last, bytes)) if *last == of => bytes.extend(number.to_be_bytes()),
                _ => {
                    let mut bytes = Vec::with_capacity(text.len() * 2);
                    bytes.extend(number.to_be_bytes());
                    stretches.push((of, bytes));
                }
            }
        }
        stretches
    }

    fn number(&mut self, letter: char) -> (Of, u16) {
        let glyph = self.font.glyph(letter);
        if let Some(number) = self.common.numbers.get(usize::from(glyph)).filter(|number| **number != 0) {
            return (Of::Common, *number);
        }
        let place = self.more.iter().position(|(known, _)| *known == glyph).unwrap_or_else(|| {
            self.more.push((glyph, letter));
            self.more.len() - 1
        });
        (Of::Further, u16::try_from(place + 1).unwrap_or_default())
    }

    /// The letters that this ticket needs beyond the common ones; `None`: there are none.
    pub(super) fn further(&self) -> Result<Option<Part>, TicketError> {
        if self.more.is_empty() {
            return Ok(None);
        }
        Part::of(self.font, &self.more, deflated).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_for_plain_is_the_same_when_accents_are_put_together() {
        for letter in ('\0'..'\u{300}').chain('\u{2010}'..='\u{20cf}') {
            let text = format!("a{letter}e{letter}");
            assert!(letters(&text).eq(text.nfc()), "{letter:?}");
        }
    }

    #[test]
    fn loose_accents_join_and_unknown_scripts_become_boxes() {
        let font = Font::regular().unwrap();
        let mut set = Typeset::of(font).unwrap();
        assert_eq!(set.set("Ame\u{301}lie"), set.set("Amélie"));
        assert!(font.has_all("Zażółć gęślą jaźń, Đặng Thị Ngọc, 1\u{202f}234,50\u{a0}€"));
        assert!(!font.has_all("田中") && !font.has_all("שלום"));
        assert_eq!(set.set("田"), set.set("\u{25a1}"));
    }

    /// What a reader copies for each number of a part, by its table; the first number is 1.
    fn copied(part: &Part) -> Vec<char> {
        let mut table = String::new();
        std::io::Read::read_to_string(&mut flate2::read::ZlibDecoder::new(part.unicode.as_slice()), &mut table)
            .unwrap();
        let pairs = table.lines().filter_map(|line| line.strip_prefix('<')?.strip_suffix('>')?.split_once("> <"));
        let pairs = pairs.filter(|(number, _)| *number != "0000");
        pairs
            .enumerate()
            .map(|(at, (number, letter))| {
                assert_eq!(usize::from_str_radix(number, 16), Ok(at + 1));
                char::from_u32(u32::from_str_radix(letter, 16).unwrap()).unwrap()
            })
            .collect()
    }

    #[test]
    fn what_is_common_is_cut_once_and_what_is_not_is_a_part_of_its_own() {
        let font = Font::bold().unwrap();
        let mut set = Typeset::of(font).unwrap();
        let text = "Départ à 9 h 30 · 1\u{202f}234,50\u{a0}€ — “l’été”, Zoë O’Brien, 3 × Ñandú";
        let common = set.set(text);
        assert!(set.further().unwrap().is_none());
        let part = font.common_part().unwrap();
        assert!(part.file.len() < 16_000, "{} bytes", part.file.len());
        let letters = copied(part);
        assert_eq!(letters.len(), part.widths.len());
        let numbers = |bytes: &[u8]| -> Vec<usize> {
            bytes.chunks(2).map(|number| usize::from(u16::from_be_bytes([number[0], number[1]]))).collect()
        };
        let [(Of::Common, bytes)] = common.as_slice() else { panic!("{common:?}") };
        for (number, letter) in numbers(bytes).into_iter().zip(text.chars()).filter(|(_, l)| *l != '\u{202f}') {
            assert_eq!(letters[number - 1], letter);
        }

        let greek = set.set("Ωμέγα ω!");
        assert_eq!(set.set(text), common, "numbers stay");
        let further = set.further().unwrap().unwrap();
        assert_eq!((copied(&further), further.widths.len()), ("Ωμέγαω".chars().collect(), 6));
        let [(Of::Further, word), (Of::Common, space), (Of::Further, last), (Of::Common, _)] = greek.as_slice() else {
            panic!("{greek:?}")
        };
        assert_eq!((numbers(word), numbers(last)), (vec![1, 2, 3, 4, 5], vec![6]));
        assert_eq!(*space, set.set(" ")[0].1, "a space is common");
    }
}
