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

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

/// Something of ours is broken: a font that does not parse, a code that is too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ticket cannot be written: {0}")]
pub struct TicketError(pub(crate) String);

/// As streams of a PDF are compressed.
fn deflated(data: &[u8], level: Compression) -> Result<Vec<u8>, TicketError> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(data.len() / 2), level);
    encoder.write_all(data).and_then(|()| encoder.finish()).map_err(|e| TicketError(e.to_string()))
}
