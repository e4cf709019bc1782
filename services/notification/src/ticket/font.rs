//! The ticket's font: widths of text, and the part of the font that a ticket uses.

use std::{collections::BTreeSet, sync::LazyLock};

use ttf_parser::{Face, GlyphId, RawFace, Tag};
use unicode_normalization::UnicodeNormalization as _;

use super::TicketError;

/// Shown for what the font lacks.
const BOX: char = '\u{25a1}';

/// A font file that is part of the binary.
pub(super) struct Font {
    /// Its PostScript name.
    pub(super) name: &'static str,
    face: Face<'static>,
    raw: RawFace<'static>,
}

static REGULAR: LazyLock<Result<Font, TicketError>> =
    LazyLock::new(|| Font::of("DejaVuSans", include_bytes!("../../fonts/DejaVuSans.ttf")));
static BOLD: LazyLock<Result<Font, TicketError>> =
    LazyLock::new(|| Font::of("DejaVuSans-Bold", include_bytes!("../../fonts/DejaVuSans-Bold.ttf")));

/// A text as glyphs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glyphs {
    /// Two bytes for each.
    pub(super) bytes: Vec<u8>,
    /// In thousandths of the font's size.
    pub(super) width: u32,
}

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
        Ok(Self { name, face: Face::parse(data, 0).map_err(failed)?, raw: RawFace::parse(data, 0).map_err(failed)? })
    }

    /// The glyph of a letter; of what the font lacks, that of a box.
    pub(super) fn glyph(&self, letter: char) -> u16 {
        self.known(letter).or_else(|| self.known(BOX)).unwrap_or_default()
    }

    fn known(&self, letter: char) -> Option<u16> {
        // The narrow spaces of French numbers are not in every cut of the font; a space is a space.
        let letter = if matches!(letter, '\u{202f}' | '\u{2009}' | '\t') { '\u{a0}' } else { letter };
        self.face.glyph_index(letter).map(|g| g.0)
    }

    /// Every letter of the text is in the font.
    pub(super) fn has_all(&self, text: &str) -> bool {
        text.nfc().all(|c| self.known(c).is_some())
    }

    /// How wide a glyph is, in thousandths of the font's size.
    pub(super) fn advance(&self, glyph: u16) -> u32 {
        let units = u32::from(self.face.units_per_em()).max(1);
        u32::from(self.face.glyph_hor_advance(GlyphId(glyph)).unwrap_or_default()) * 1000 / units
    }

    /// A text as glyphs; letters with loose accents are put together first.
    pub(super) fn glyphs(&self, text: &str) -> Glyphs {
        let mut glyphs = Glyphs { bytes: Vec::with_capacity(text.len() * 2), width: 0 };
        for letter in text.nfc() {
            let glyph = self.glyph(letter);
            glyphs.bytes.extend(glyph.to_be_bytes());
            glyphs.width += self.advance(glyph);
        }
        glyphs
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

    /// A font file with the outlines of these glyphs alone. Numbers of glyphs stay: what is left out has no outline.
    pub(super) fn cut(&self, used: &BTreeSet<u16>) -> Result<Vec<u8>, TicketError> {
        let table = |tag: &[u8; 4]| {
            let found = self.raw.table(Tag::from_bytes(tag));
            found.ok_or_else(|| TicketError(format!("{} has no table {}", self.name, String::from_utf8_lossy(tag))))
        };
        let (glyf, loca, head) = (table(b"glyf")?, table(b"loca")?, table(b"head")?);
        let long = head.get(51) == Some(&1);
        let count = self.face.number_of_glyphs();
        let offset = |glyph: u16| -> usize {
            let at = usize::from(glyph) * if long { 4 } else { 2 };
            if long { be(loca, at, 4) } else { be(loca, at, 2) * 2 }
        };
        let outline = |glyph: u16| glyf.get(offset(glyph)..offset(glyph + 1)).unwrap_or_default();

        // An accented letter is made of others.
        let mut all: BTreeSet<u16> = used.iter().copied().filter(|g| *g < count).chain([0]).collect();
        let mut open: Vec<u16> = all.iter().copied().collect();
        while let Some(glyph) = open.pop() {
            open.extend(components(outline(glyph)).into_iter().filter(|g| *g < count && all.insert(*g)));
        }

        let (mut new_glyf, mut new_loca) = (Vec::new(), Vec::with_capacity(usize::from(count) * 4 + 4));
        for glyph in 0..=count {
            new_loca.extend(u32::try_from(new_glyf.len()).unwrap_or_default().to_be_bytes());
            if glyph < count && all.contains(&glyph) {
                new_glyf.extend_from_slice(outline(glyph));
                new_glyf.resize(new_glyf.len().next_multiple_of(4), 0);
            }
        }
        let mut new_head = head.to_vec();
        if let Some(format) = new_head.get_mut(50..52) {
            format.copy_from_slice(&[0, 1]);
        }
        Ok(file(&[
            (b"glyf", &new_glyf),
            (b"head", &new_head),
            (b"hhea", table(b"hhea")?),
            (b"hmtx", table(b"hmtx")?),
            (b"loca", &new_loca),
            (b"maxp", table(b"maxp")?),
        ]))
    }
}

fn be(data: &[u8], at: usize, bytes: usize) -> usize {
    data.get(at..at + bytes).unwrap_or_default().iter().fold(0, |n, b| n << 8 | usize::from(*b))
}

/// The glyphs that a glyph is made of, by the flags of the OpenType specification.
fn components(outline: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    // The number of contours is negative for what is put together.
    if outline.first().is_none_or(|b| b & 0x80 == 0) {
        return found;
    }
    let mut at = 10;
    loop {
        let flags = be(outline, at, 2);
        found.push(u16::try_from(be(outline, at + 2, 2)).unwrap_or_default());
        at += 4 + if flags & 0x0001 != 0 { 4 } else { 2 };
        at += match flags {
            f if f & 0x0008 != 0 => 2,
            f if f & 0x0040 != 0 => 4,
            f if f & 0x0080 != 0 => 8,
            _ => 0,
        };
        if flags & 0x0020 == 0 || at >= outline.len() {
            return found;
        }
    }
}

/// A TrueType file of these tables, which are sorted by name.
fn file(tables: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let count = u16::try_from(tables.len()).unwrap_or_default();
    let power = count.checked_ilog2().unwrap_or_default();
    let range = 16_u16 << power;
    let mut file = vec![0, 1, 0, 0];
    for field in [count, range, u16::try_from(power).unwrap_or_default(), count * 16 - range] {
        file.extend(field.to_be_bytes());
    }
    let mut at = 12 + 16 * tables.len();
    for (tag, data) in tables {
        file.extend_from_slice(*tag);
        for field in [sum(data), u32::try_from(at).unwrap_or_default(), u32::try_from(data.len()).unwrap_or_default()] {
            file.extend(field.to_be_bytes());
        }
        at += data.len().next_multiple_of(4);
    }
    for (_, data) in tables {
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(4), 0);
    }
    file
}

fn sum(data: &[u8]) -> u32 {
    data.chunks(4).fold(0, |sum: u32, word| {
        let mut bytes = [0; 4];
        bytes.iter_mut().zip(word).for_each(|(b, w)| *b = *w);
        sum.wrapping_add(u32::from_be_bytes(bytes))
    })
}

#[cfg(test)]
mod tests {
    use ttf_parser::OutlineBuilder;

    use super::*;

    #[derive(Default, PartialEq, Debug)]
    struct Trace(Vec<(f32, f32)>);

    impl OutlineBuilder for Trace {
        fn move_to(&mut self, x: f32, y: f32) {
            self.0.push((x, y));
        }
        fn line_to(&mut self, x: f32, y: f32) {
            self.0.push((x, y));
        }
        fn quad_to(&mut self, _: f32, _: f32, x: f32, y: f32) {
            self.0.push((x, y));
        }
        fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, x: f32, y: f32) {
            self.0.push((x, y));
        }
        fn close(&mut self) {}
    }

    #[test]
    fn a_cut_font_draws_its_letters_as_before_and_no_others() {
        for font in [Font::regular().unwrap(), Font::bold().unwrap()] {
            let letters = "Amélie Łódź Ngọc Ωμέγα Щука €10,50 ’";
            let used: BTreeSet<u16> = letters.chars().map(|c| font.glyph(c)).collect();
            let cut = font.cut(&used).unwrap();
            assert!(cut.len() < 25_000, "{} bytes", cut.len());
            // Parsing wants a table of letters, which a font inside of a PDF does not need: only outlines are compared.
            let glyf = RawFace::parse(&cut, 0).unwrap();
            let loca = glyf.table(Tag::from_bytes(b"loca")).unwrap();
            let outline = |g: u16| be(loca, usize::from(g) * 4 + 4, 4) - be(loca, usize::from(g) * 4, 4);
            for letter in letters.chars().filter(|c| *c != ' ' && *c != '\u{a0}') {
                assert!(font.known(letter).is_some(), "{letter} is in the font");
                let mut trace = Trace::default();
                font.face.outline_glyph(GlyphId(font.glyph(letter)), &mut trace).unwrap();
                assert!(!trace.0.is_empty() && outline(font.glyph(letter)) > 0, "{letter}");
            }
            assert_eq!(outline(font.glyph('Z')), 0, "nobody asked for it");
        }
    }

    #[test]
    fn loose_accents_join_and_unknown_scripts_become_boxes() {
        let font = Font::regular().unwrap();
        assert_eq!(font.glyphs("Ame\u{301}lie"), font.glyphs("Amélie"));
        assert!(font.has_all("Zażółć gęślą jaźń, Đặng Thị Ngọc, 1\u{202f}234,50\u{a0}€"));
        assert!(!font.has_all("田中") && !font.has_all("שלום"));
        assert_eq!(font.glyphs("田"), font.glyphs("\u{25a1}"));
    }
}
