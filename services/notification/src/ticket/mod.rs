//! What a confirmation carries beside words: QR codes, a PDF ticket, an event for the calendar. Pure: the same booking
//! gives the same bytes.
//!
//! Tickets are written with pdf-writer and a font of our own (DejaVu Sans: Latin, Greek, Cyrillic), of which only the
//! signs that tickets use go into it. Letters that the font lacks (Chinese, Arabic, Hebrew, Thai …) are shown as boxes
//! and the ticket says so; the e-mail itself shows every script, and nobody needs the name to get in.

pub mod calendar;
mod font;
pub mod pdf;
pub mod qr;

use std::{cell::RefCell, io::Write as _};

use flate2::{Compression, write::ZlibEncoder};

/// Something of ours is broken: a font that does not parse, a code that is too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ticket cannot be written: {0}")]
pub struct TicketError(pub(crate) String);

thread_local! {
    /// Compresses what every ticket has anew. To make one of these takes as long as a small stream does.
    static FAST: RefCell<ZlibEncoder<Vec<u8>>> = RefCell::new(ZlibEncoder::new(Vec::new(), Compression::fast()));
}

/// As streams of a PDF are compressed: hardly, but fast.
fn deflated(data: &[u8]) -> Result<Vec<u8>, TicketError> {
    FAST.with_borrow_mut(|fast| compressed(data, fast))
}

/// The same for what is written once: as small as can be.
fn deflated_well(data: &[u8]) -> Result<Vec<u8>, TicketError> {
    compressed(data, &mut ZlibEncoder::new(Vec::new(), Compression::best()))
}

fn compressed(data: &[u8], encoder: &mut ZlibEncoder<Vec<u8>>) -> Result<Vec<u8>, TicketError> {
    encoder.write_all(data).and_then(|()| encoder.reset(Vec::new())).map_err(|e| TicketError(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_compressed_does_not_depend_on_what_was_before() {
        let texts: Vec<Vec<u8>> = (1..60_u32)
            .map(|n| (0..n * n * 7).map(|at| (at.wrapping_mul(n + 3) >> (n % 11)).to_le_bytes()[0]).collect())
            .collect();
        for text in &texts {
            let alone = std::thread::scope(|threads| threads.spawn(|| deflated(text)).join().unwrap()).unwrap();
            let mut back = Vec::new();
            flate2::read::ZlibDecoder::new(alone.as_slice()).read_to_end(&mut back).unwrap();
            assert!(back == *text);
            // On this thread all the others were compressed before.
            assert!(deflated(text).unwrap() == alone, "{} bytes", text.len());
        }
    }
}
