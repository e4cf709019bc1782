//! QR codes: as modules for paper, as PNG for e-mails (mail programs show no SVG).

use qrcode::{Color, EcLevel, QrCode};

use super::TicketError;

/// White modules around a code, as the standard wants.
pub(super) const MARGIN: usize = 4;
/// Pixels of a module.
const SCALE: usize = 6;

/// A QR code: rows of dark and light modules, without a margin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qr {
    /// Modules in a row, and rows.
    pub width: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Encodes a text; a quarter of the picture may be lost.
    ///
    /// # Errors
    /// When the text is too long.
    pub fn of(text: &str) -> Result<Self, TicketError> {
        let code = QrCode::with_error_correction_level(text, EcLevel::Q).map_err(|e| TicketError(e.to_string()))?;
        let width = code.width();
        Ok(Self { width, dark: code.into_colors().into_iter().map(|c| c == Color::Dark).collect() })
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
    use super::*;

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
