//! The fonts of tickets as objects of a PDF. Those of all tickets are written once, and every ticket begins with them.

use std::sync::LazyLock;

use pdf_writer::{
    Chunk, Filter, Finish as _, Name, Pdf, Rect, Ref,
    types::{CidFontType, FontFlags},
};

use super::{COMPACT, Style};
use crate::ticket::{
    TicketError,
    font::{Font, Of, Part, SYSTEM},
};

/// What a page calls a part of a font.
pub(super) const fn name(style: Style, of: Of) -> Name<'static> {
    match (style, of) {
        (Style::Regular, Of::Common) => Name(b"R"),
        (Style::Bold, Of::Common) => Name(b"B"),
        (Style::Regular, Of::Further) => Name(b"RF"),
        (Style::Bold, Of::Further) => Name(b"BF"),
    }
}

/// The objects that a font is made of.
pub(super) const OBJECTS: i32 = 5;

/// The fonts of all tickets, as they are written.
pub(super) struct Fonts {
    chunk: Chunk,
    pub(super) regular: Ref,
    pub(super) bold: Ref,
    /// The first number that is free.
    pub(super) next: i32,
}

static FONTS: LazyLock<Result<Fonts, TicketError>> = LazyLock::new(|| {
    let mut chunk = Chunk::with_settings(COMPACT);
    let (regular, bold) = (Ref::new(1), Ref::new(1 + OBJECTS));
    for (font, id) in [(Font::regular()?, regular), (Font::bold()?, bold)] {
        embed(&mut chunk, font, font.common_part()?, Of::Common, id);
    }
    Ok(Fonts { chunk, regular, bold, next: 1 + 2 * OBJECTS })
});

/// A ticket that has its fonts.
pub(super) fn begun() -> Result<(Pdf, &'static Fonts), TicketError> {
    let fonts = FONTS.as_ref().map_err(Clone::clone)?;
    let mut pdf = Pdf::with_settings_and_capacity(COMPACT, fonts.chunk.len() + 8 * 1024);
    pdf.extend(&fonts.chunk);
    Ok((pdf, fonts))
}

/// What every ticket begins with: most of its bytes.
///
/// # Errors
/// When the font that is part of the binary is broken: a defect of ours.
pub(crate) fn beginning() -> Result<Vec<u8>, TicketError> {
    begun().map(|(pdf, _)| pdf.as_bytes().to_vec())
}

/// Writes a part of a font, as [`OBJECTS`] objects from `id` on.
pub(super) fn embed(pdf: &mut Chunk, font: &Font, part: &Part, of: Of, id: Ref) {
    let object = |offset: i32| Ref::new(id.get() + offset);
    let (descendant, descriptor, file, letters) = (object(1), object(2), object(3), object(4));
    // Six letters before the name say that it is a part of the font, and tell its parts from each other.
    let name = match of {
        Of::Common => format!("TICKET+{}", font.name),
        Of::Further => format!("FURTHR+{}", font.name),
    };
    let name = Name(name.as_bytes());
    pdf.type0_font(id)
        .base_font(name)
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(descendant)
        .to_unicode(letters);
    let mut cid = pdf.cid_font(descendant);
    cid.subtype(CidFontType::Type2)
        .base_font(name)
        .system_info(SYSTEM)
        .font_descriptor(descriptor)
        .cid_to_gid_map_predefined(Name(b"Identity"))
        .default_width(0.0);
    cid.widths().consecutive(1, part.widths.iter().copied());
    cid.finish();
    let (ascent, descent, capitals, [x1, y1, x2, y2]) = font.metrics();
    pdf.font_descriptor(descriptor)
        .name(name)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(x1 as f32, y1 as f32, x2 as f32, y2 as f32))
        .italic_angle(0.0)
        .ascent(ascent as f32)
        .descent(descent as f32)
        .cap_height(capitals as f32)
        .stem_v(if font.name.ends_with("Bold") { 160.0 } else { 90.0 })
        .font_file2(file);
    let mut stream = pdf.stream(file, &part.file);
    stream.filter(Filter::FlateDecode).pair(Name(b"Length1"), part.length);
    stream.finish();
    pdf.cmap(letters, &part.unicode).filter(Filter::FlateDecode);
}
