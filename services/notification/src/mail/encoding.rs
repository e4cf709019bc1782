//! How files travel in an e-mail: as base64 in lines that every server takes (RFC 2045).
//!
//! The builder of messages could do this too; here nine tenths of a ticket are encoded once.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use lettre::message::{Body, header::ContentTransferEncoding};

use crate::ticket::pdf;

/// What a line may hold.
const LINE: usize = 76;
/// So many bytes are a line of base64.
const BYTES: usize = LINE / 4 * 3;

/// The beginning of every ticket, as far as it fills lines: nine tenths of a ticket are always the same bytes.
struct Beginning {
    bytes: Vec<u8>,
    encoded: Vec<u8>,
}

static BEGINNING: LazyLock<Beginning> = LazyLock::new(|| {
    // Without its font no ticket is ever written.
    let bytes = pdf::beginning().unwrap_or_default();
    let whole = bytes.len() / BYTES * BYTES;
    let bytes = bytes.get(..whole).unwrap_or_default().to_vec();
    let mut encoded = Vec::new();
    base64_lines(&bytes, &mut encoded);
    Beginning { bytes, encoded }
});

/// A file as base64.
pub(super) fn file(content: &[u8]) -> Body {
    let mut encoded = Vec::with_capacity(content.len().div_ceil(BYTES) * (LINE + 2));
    let rest = match content.strip_prefix(BEGINNING.bytes.as_slice()) {
        Some(rest) => {
            encoded.extend_from_slice(&BEGINNING.encoded);
            rest
        }
        None => content,
    };
    base64_lines(rest, &mut encoded);
    // The builder ends the last line.
    encoded.truncate(encoded.len().saturating_sub(2));
    Body::dangerous_pre_encoded(encoded, ContentTransferEncoding::Base64)
}

fn base64_lines(content: &[u8], encoded: &mut Vec<u8>) {
    for bytes in content.chunks(BYTES) {
        let mut line = [0; LINE];
        let length = BASE64_STANDARD.encode_slice(bytes, &mut line).unwrap_or_default();
        encoded.extend_from_slice(line.get(..length).unwrap_or_default());
        encoded.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a body as a mail program does.
    fn read(body: &Body) -> Vec<u8> {
        let sent = String::from_utf8(body.as_ref().to_vec()).unwrap();
        assert!(sent.is_ascii() && sent.split("\r\n").all(|line| line.len() <= LINE), "{sent:?}");
        assert!(!sent.replace("\r\n", "").contains(['\r', '\n']), "{sent:?}");
        match body.encoding() {
            ContentTransferEncoding::Base64 => BASE64_STANDARD.decode(sent.replace("\r\n", "")).unwrap(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_its_beginning_is_not_encoded_again() {
        let beginning = pdf::beginning().unwrap();
        assert!(beginning.len() > 20_000 && BEGINNING.bytes.len() > beginning.len() - BYTES);
        for rest in [&b""[..], b"1", b"the rest of a ticket"] {
            let ticket = [beginning.as_slice(), rest].concat();
            assert_eq!(read(&file(&ticket)), ticket);
        }
        assert_eq!(read(&file(&beginning[..100])), &beginning[..100]);
        assert_eq!(read(&file(b"")), b"");
    }
}
