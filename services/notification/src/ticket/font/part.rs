//! A part of a font: the outlines of some letters, as a PDF takes them along.

use std::collections::BTreeMap;

use pdf_writer::{Name, types::UnicodeCmap};
use ttf_parser::{GlyphId, Tag};

use super::{Font, SYSTEM};
use crate::ticket::TicketError;

/// A font file with some glyphs of a font, numbered anew, and what a PDF says about it.
#[derive(Debug, Clone)]
pub(in crate::ticket) struct Part {
    /// How wide the letter behind each number is, from 1 on: 0 is for what has no glyph; in thousandths of the font's size.
    pub(in crate::ticket) widths: Vec<f32>,
    /// The font file, compressed.
    pub(in crate::ticket) file: Vec<u8>,
    /// Its length when it is not.
    pub(in crate::ticket) length: i32,
    /// Which letters the numbers stand for, so that text can be searched and copied; compressed.
    pub(in crate::ticket) unicode: Vec<u8>,
}

/// A way to compress.
type Deflated = fn(&[u8]) -> Result<Vec<u8>, TicketError>;

impl Part {
    /// Cuts these out of a font, and compresses them as well as it is worth.
    pub(super) fn of(font: &Font, letters: &[(u16, char)], deflated: Deflated) -> Result<Self, TicketError> {
        let glyphs: Vec<u16> = letters.iter().map(|(glyph, _)| *glyph).collect();
        let file = cut(font, &glyphs)?;
        let mut unicode = UnicodeCmap::<u16>::new(Name(b"Letters"), SYSTEM);
        for (number, (_, letter)) in (1..).zip(letters) {
            unicode.pair(number, *letter);
        }
        Ok(Self {
            widths: glyphs.iter().map(|glyph| font.measured(*glyph) as f32).collect(),
            length: i32::try_from(file.len()).map_err(|e| TicketError(e.to_string()))?,
            file: deflated(&file)?,
            unicode: deflated(unicode.finish().as_slice())?,
        })
    }
}

/// A font file with the outlines of these glyphs alone, numbered from 1 on.
pub(super) fn cut(font: &Font, glyphs: &[u16]) -> Result<Vec<u8>, TicketError> {
    let table = |tag: &[u8; 4]| {
        let found = font.raw.table(Tag::from_bytes(tag));
        found.ok_or_else(|| TicketError(format!("{} has no table {}", font.name, String::from_utf8_lossy(tag))))
    };
    let (glyf, loca, head) = (table(b"glyf")?, table(b"loca")?, table(b"head")?);
    let long = head.get(51) == Some(&1);
    let offset = |glyph: usize| if long { be(loca, glyph * 4, 4) } else { be(loca, glyph * 2, 2) * 2 };
    let outline = |glyph: u16| glyf.get(offset(glyph.into())..offset(usize::from(glyph) + 1)).unwrap_or_default();

    let mut all = vec![0];
    all.extend(glyphs);
    let mut numbers: BTreeMap<u16, u16> = (0..).zip(&all).map(|(number, glyph)| (*glyph, number)).collect();
    let (mut outlines, mut places, mut sides) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(glyph) = all.get(at).copied() {
        let mut outline = outline(glyph).to_vec();
        // An accented letter is made of others, which come along.
        for place in components(&outline) {
            let whole = u16::try_from(be(&outline, place, 2)).unwrap_or_default();
            let next = u16::try_from(all.len()).map_err(|e| TicketError(e.to_string()))?;
            let number = *numbers.entry(whole).or_insert(next);
            if number == next {
                all.push(whole);
            }
            put(&mut outline, place, number);
        }
        without_instructions(&mut outline);
        places.extend(u32::try_from(outlines.len()).unwrap_or_default().to_be_bytes());
        outlines.extend(outline);
        outlines.resize(outlines.len().next_multiple_of(4), 0);
        sides.extend(font.face.glyph_hor_advance(GlyphId(glyph)).unwrap_or_default().to_be_bytes());
        sides.extend(font.face.glyph_hor_side_bearing(GlyphId(glyph)).unwrap_or_default().to_be_bytes());
        at += 1;
    }
    places.extend(u32::try_from(outlines.len()).unwrap_or_default().to_be_bytes());

    let count = u16::try_from(all.len()).map_err(|e| TicketError(e.to_string()))?;
    let changed = |tag: &[u8; 4], at: usize, value: u16| {
        let mut table = table(tag)?.to_vec();
        put(&mut table, at, value);
        Ok::<_, TicketError>(table)
    };
    Ok(file(&[
        (b"glyf", &outlines),
        (b"head", &changed(b"head", 50, 1)?),
        (b"hhea", &changed(b"hhea", 34, count)?),
        (b"hmtx", &sides),
        (b"loca", &places),
        (b"maxp", &changed(b"maxp", 4, count)?),
    ]))
}

fn be(data: &[u8], at: usize, bytes: usize) -> usize {
    data.get(at..at + bytes).unwrap_or_default().iter().fold(0, |n, b| n << 8 | usize::from(*b))
}

fn put(data: &mut [u8], at: usize, value: u16) {
    if let Some(place) = data.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The number of contours is negative for what is put together of others.
fn is_composed(outline: &[u8]) -> bool {
    outline.first().is_some_and(|b| b & 0x80 != 0)
}

/// Where the glyphs are named that a glyph is made of, by the flags of the OpenType specification.
fn components(outline: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    if !is_composed(outline) {
        return found;
    }
    let mut at = 10;
    loop {
        let flags = be(outline, at, 2);
        found.push(at + 2);
        at += component(flags);
        if flags & 0x0020 == 0 || at >= outline.len() {
            return found;
        }
    }
}

/// How long the description of one part is.
fn component(flags: usize) -> usize {
    4 + if flags & 0x0001 != 0 { 4 } else { 2 }
        + match flags {
            f if f & 0x0008 != 0 => 2,
            f if f & 0x0040 != 0 => 4,
            f if f & 0x0080 != 0 => 8,
            _ => 0,
        }
}

/// Takes the instructions for coarse screens out of an outline: they call programs of the whole font, which a part does
/// not have, and they are half of it.
fn without_instructions(outline: &mut Vec<u8>) {
    if is_composed(outline) {
        let Some(last) = components(outline).last().map(|place| place - 2) else { return };
        let flags = be(outline, last, 2);
        outline.truncate(last + component(flags));
        for place in components(outline) {
            let flags = u16::try_from(be(outline, place - 2, 2)).unwrap_or_default();
            put(outline, place - 2, flags & !0x0100);
        }
    } else if !outline.is_empty() {
        let at = 10 + 2 * be(outline, 0, 2);
        let length = be(outline, at, 2);
        if outline.len() >= at + 2 + length {
            put(outline, at, 0);
            outline.drain(at + 2..at + 2 + length);
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
    use ttf_parser::{OutlineBuilder, RawFace};

    use super::*;

    #[derive(Default, PartialEq, Debug)]
    struct Trace(Vec<(&'static str, [f32; 4])>);

    impl OutlineBuilder for Trace {
        fn move_to(&mut self, x: f32, y: f32) {
            self.0.push(("move", [x, y, 0.0, 0.0]));
        }
        fn line_to(&mut self, x: f32, y: f32) {
            self.0.push(("line", [x, y, 0.0, 0.0]));
        }
        fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
            self.0.push(("quad", [x1, y1, x, y]));
        }
        fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, x: f32, y: f32) {
            self.0.push(("curve", [x, y, 0.0, 0.0]));
        }
        fn close(&mut self) {
            self.0.push(("close", [0.0; 4]));
        }
    }

    #[test]
    fn a_part_draws_its_letters_as_the_whole_font_does() {
        for font in [Font::regular().unwrap(), Font::bold().unwrap()] {
            let letters = "Amélie Łódź Ngọc Ωμέγα Щука €10,50 ’";
            let glyphs: Vec<u16> = letters.chars().map(|c| font.glyph(c)).collect();
            let cut = cut(font, &glyphs).unwrap();
            assert!(cut.len() < 9_000, "{} bytes", cut.len());
            // A whole face wants a table of letters, which a font inside of a PDF does not need.
            let raw = RawFace::parse(&cut, 0).unwrap();
            let table = |tag: &[u8; 4]| raw.table(Tag::from_bytes(tag)).unwrap();
            let count = u16::try_from(be(table(b"maxp"), 4, 2)).unwrap();
            let count = std::num::NonZeroU16::new(count).unwrap();
            let head = ttf_parser::head::Table::parse(table(b"head")).unwrap();
            let loca = ttf_parser::loca::Table::parse(count, head.index_to_location_format, table(b"loca")).unwrap();
            let glyf = ttf_parser::glyf::Table::parse(loca, table(b"glyf")).unwrap();
            let hmtx = ttf_parser::hmtx::Table::parse(
                u16::try_from(be(table(b"hhea"), 34, 2)).unwrap(),
                count,
                table(b"hmtx"),
            )
            .unwrap();
            for (number, letter) in (1..).zip(letters.chars()) {
                let (mut whole, mut part) = (Trace::default(), Trace::default());
                font.face.outline_glyph(GlyphId(font.glyph(letter)), &mut whole);
                glyf.outline(GlyphId(number), &mut part);
                assert_eq!(whole, part, "{letter}");
                assert_eq!(whole.0.is_empty(), letter == ' ', "{letter}");
                let advance = font.face.glyph_hor_advance(GlyphId(font.glyph(letter)));
                assert_eq!(hmtx.advance(GlyphId(number)), advance, "{letter}");
            }
        }
    }
}
