//! QR codes: as modules for paper, as PNG for e-mails (mail programs show no SVG).

use qrcode::{
    Color, EcLevel, bits,
    canvas::{Canvas, MaskPattern},
    ec,
};

use super::TicketError;

/// White modules around a code, as the standard wants.
pub(super) const MARGIN: usize = 4;
/// Pixels of a module.
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

    /// Runs of dark modules in their rows: x, y, length.
    pub fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs: Vec<(usize, usize, usize)> = Vec::new();
        for (index, _) in self.dark.iter().enumerate().filter(|(_, dark)| **dark) {
            let (x, y) = (index % self.width, index / self.width);
            match runs.last_mut() {
                Some((from, row, length)) if *row == y && *from + *length == x => *length += 1,
                _ => runs.push((x, y, 1)),
            }
        }
        runs
    }

    /// As a picture in black and white, with its margin.
    ///
    /// # Errors
    /// When the encoder refuses.
    pub fn png(&self) -> Result<Vec<u8>, TicketError> {
        let modules = self.width + 2 * MARGIN;
        let side = modules * SCALE;
        let row_bytes = side.div_ceil(8);
        // A row of modules is painted once and repeated.
        let mut rows = vec![vec![0xff_u8; row_bytes]; self.width];
        for (x, y, length) in self.runs() {
            let Some(row) = rows.get_mut(y) else { continue };
            for pixel in (x + MARGIN) * SCALE..(x + MARGIN + length) * SCALE {
                if let Some(byte) = row.get_mut(pixel / 8) {
                    *byte &= !(0x80 >> (pixel % 8));
                }
            }
        }
        let light = vec![0xff_u8; row_bytes * SCALE * MARGIN];
        let mut pixels = light.clone();
        for row in rows {
            (0..SCALE).for_each(|_| pixels.extend_from_slice(&row));
        }
        pixels.extend(light);
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
        let runs: usize = qr.runs().iter().map(|(_, _, length)| length).sum();
        assert_eq!(runs, qr.dark.iter().filter(|d| **d).count());
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
