//! QR codes: as modules for paper, as PNG for e-mails (mail programs show no SVG).

use qrcode::{
    Color, EcLevel, bits,
    canvas::{Canvas, MaskPattern},
    ec,
};

use super::TicketError;

/// White modules around a code, as the standard wants.
pub(super) const MARGIN: usize = 4;
/// Pixels of a module: four modules are three bytes.
const SCALE: usize = 6;
/// A quarter of the picture may be lost.
const LEVEL: EcLevel = EcLevel::Q;
/// Masks are there so that no content makes large areas of one colour, or patterns that look like the corners by which
/// a code is found (ISO/IEC 18004, 7.8); the standard has an encoder try all eight and take the one with the fewest of
/// these. Readers read every mask, because a code says which one it has. What we encode is signed randomness that is as
/// even under any one of them as under any other, and the search is nine tenths of the work.
const MASK: MaskPattern = MaskPattern::Fields;

/// A QR code: rows of dark and light modules, without a margin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qr {
    /// Modules in a row, and rows.
    pub width: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Encodes a voucher's token.
    ///
    /// # Errors
    /// When the text is too long.
    pub fn of(text: &str) -> Result<Self, TicketError> {
        let failed = |e: qrcode::types::QrError| TicketError(e.to_string());
        let bits = bits::encode_auto(text.as_bytes(), LEVEL).map_err(failed)?;
        let version = bits.version();
        let (data, correction) = ec::construct_codewords(&bits.into_bytes(), version, LEVEL).map_err(failed)?;
        let mut canvas = Canvas::new(version, LEVEL);
        canvas.draw_all_functional_patterns();
        canvas.draw_data(&data, &correction);
        canvas.apply_mask(MASK);
        let dark: Vec<bool> = canvas.into_colors().into_iter().map(|c| c == Color::Dark).collect();
        Ok(Self { width: dark.len().isqrt(), dark })
    }

    /// Whether a module is dark; what lies outside is light.
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.width && self.dark.get(y * self.width + x).copied().unwrap_or_default()
    }

    /// The dark modules as rectangles that do not overlap: x, y, width, height. Runs in a row, and those of the same place
    /// in the next rows with them.
    pub fn rectangles(&self) -> Vec<[usize; 4]> {
        let mut all: Vec<[usize; 4]> = Vec::with_capacity(self.dark.len() / 4);
        // Which rectangle began at a column last; those of further up are too far away to go on.
        let mut above = vec![usize::MAX; self.width];
        for (y, row) in self.dark.chunks(self.width.max(1)).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|a, b| a == b) {
                let (from, width) = (x, run.len());
                x += width;
                if run.first() != Some(&true) {
                    continue;
                }
                let Some(place) = above.get_mut(from) else { continue };
                match all.get_mut(*place) {
                    Some([_, top, same, height]) if *same == width && *top + *height == y => *height += 1,
                    _ => {
                        *place = all.len();
                        all.push([from, y, width, 1]);
                    }
                }
            }
        }
        all
    }

    /// As a picture in black and white, with its margin.
    ///
    /// # Errors
    /// When the encoder refuses.
    pub fn png(&self) -> Result<Vec<u8>, TicketError> {
        let side = (self.width + 2 * MARGIN) * SCALE;
        let row_bytes = side.div_ceil(8);
        let margin = vec![0xff_u8; row_bytes * MARGIN * SCALE];
        let mut pixels = Vec::with_capacity(row_bytes * side);
        pixels.extend_from_slice(&margin);
        for row in self.dark.chunks(self.width.max(1)) {
            // A row of modules is painted once and repeated.
            let start = pixels.len();
            pixels.resize(start + MARGIN * SCALE / 8, 0xff);
            for four in row.chunks(4) {
                let dark = four.iter().enumerate().filter(|(_, dark)| **dark);
                let bits: u32 = dark.fold(0x00ff_ffff, |bits, (at, _)| bits & !(0x00fc_0000 >> (at * SCALE)));
                pixels.extend(bits.to_be_bytes().iter().skip(1));
            }
            pixels.resize(start + row_bytes, 0xff);
            (1..SCALE).for_each(|_| pixels.extend_from_within(start..start + row_bytes));
        }
        pixels.extend(margin);
        let failed = |e: png::EncodingError| TicketError(e.to_string());
        let side = u32::try_from(side).map_err(|e| TicketError(e.to_string()))?;
        let mut picture = Vec::new();
        let mut encoder = png::Encoder::new(&mut picture, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(picture)
    }
}

#[cfg(test)]
mod tests {
    use kit::voucher::VoucherKeys;
    use sha2::{Digest as _, Sha256};
    use tourmesh_kit as kit;

    use super::*;

    /// What somebody else's reader finds in a picture, as a telephone would: searched for, straightened, decoded.
    fn read(png: &[u8], spoil: impl Fn(usize, usize) -> bool) -> Option<String> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let side = reader.info().width as usize;
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let light = |x: usize, y: usize| pixels[y * side.div_ceil(8) + x / 8] & (0x80 >> (x % 8)) != 0;
        let mut picture =
            rqrr::PreparedImage::prepare_from_greyscale(
                side,
                side,
                |x, y| {
                    if light(x, y) != spoil(x, y) { 255 } else { 0 }
                },
            );
        let [grid] = <[_; 1]>::try_from(picture.detect_grids()).ok()?;
        grid.decode().ok().map(|(_, text)| text)
    }

    #[test]
    fn every_token_can_be_read_by_somebody_else_also_with_a_stain() {
        let keys = VoucherKeys::of(&["a secret that is long enough for everybody"]);
        for n in 0..100_u128 {
            // Codes as they are: 26 letters of random bits.
            let random =
                Sha256::digest(n.to_be_bytes()).iter().take(16).fold(0, |all: u128, b| all << 8 | u128::from(*b));
            let code: String = (0..26)
                .map(|i| char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[(random >> (5 * i)) as usize & 31]))
                .collect();
            let token = keys.token(&code);
            let picture = Qr::of(&token).unwrap().png().unwrap();
            assert_eq!(read(&picture, |_, _| false).as_deref(), Some(token.as_str()), "{token}");
            // Six by six modules in the middle say the contrary.
            let stain = |x: usize, y: usize| (72..108).contains(&x) && (96..132).contains(&y);
            assert_eq!(read(&picture, stain).as_deref(), Some(token.as_str()), "{token}");
        }
    }

    #[test]
    fn a_picture_shows_the_modules_and_a_white_margin() {
        let qr = Qr::of("TM1.0123456789ABCDEFGHJKMNPQRS.0123456789ABCDEF").unwrap();
        assert!(qr.is_dark(0, 0) && qr.is_dark(6, 6) && !qr.is_dark(1, 1), "the finder pattern");
        let mut painted = vec![0; qr.dark.len()];
        for [x, y, width, height] in qr.rectangles() {
            for place in (y..y + height).flat_map(|y| (x..x + width).map(move |x| y * qr.width + x)) {
                painted[place] += 1;
            }
        }
        assert_eq!(painted, qr.dark.iter().map(|dark| i32::from(*dark)).collect::<Vec<_>>());
        let picture = qr.png().unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(&picture));
        let mut reader = decoder.read_info().unwrap();
        let side = reader.info().width as usize;
        assert_eq!(side, (qr.width + 2 * MARGIN) * SCALE);
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let row_bytes = side.div_ceil(8);
        for y in 0..side {
            for x in 0..side {
                let black = pixels[y * row_bytes + x / 8] & (0x80 >> (x % 8)) == 0;
                let (mx, my) = ((x / SCALE).wrapping_sub(MARGIN), (y / SCALE).wrapping_sub(MARGIN));
                assert_eq!(black, qr.is_dark(mx, my), "{x} {y}");
            }
        }
        assert!(picture.len() < 2_000, "{} bytes", picture.len());
    }
}
