//! How text and files travel in an e-mail: as quoted-printable and base64 (RFC 2045), in lines that every server takes.
//!
//! The builder of messages could do this too, but goes over all bytes up to five times; it was a third of an e-mail.

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

/// A text as it is when that is short lines of ASCII, else as quoted-printable, which people can still read; when more than
/// a third is other letters nobody can, and base64 is shorter.
pub(super) fn text(text: &str) -> Body {
    let other = text.bytes().filter(|b| !b.is_ascii()).count();
    if other * 3 > text.len() {
        return file(text.replace("\r\n", "\n").replace('\n', "\r\n").as_bytes());
    }
    let as_it_is = other == 0 && text.lines().all(|line| line.len() <= LINE);
    let mut encoded = Vec::with_capacity(text.len() * 9 / 8 + 64);
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        if as_it_is {
            encoded.extend_from_slice(content.as_bytes());
        } else {
            quoted_line(content.as_bytes(), &mut encoded);
        }
        if content.len() < line.len() {
            encoded.extend_from_slice(b"\r\n");
        }
    }
    let encoding = if as_it_is { ContentTransferEncoding::SevenBit } else { ContentTransferEncoding::QuotedPrintable };
    Body::dangerous_pre_encoded(encoded, encoding)
}

/// One line as quoted-printable, broken where it is too long: a line that ends in `=` goes on.
fn quoted_line(line: &[u8], encoded: &mut Vec<u8>) {
    // At the end of a line some server may take a space away.
    let (mut rest, blank) = match line.split_last() {
        Some((last @ (b' ' | b'\t'), rest)) => (rest, Some(*last)),
        _ => (line, None),
    };
    // One place is for the `=`.
    let mut room = LINE - 1;
    loop {
        let fits = rest.get(..room).unwrap_or(rest);
        let (plain, more) = rest.split_at(fits.iter().position(|byte| !is_plain(*byte)).unwrap_or(fits.len()));
        encoded.extend_from_slice(plain);
        room -= plain.len();
        let Some((next, after)) = more.split_first() else { break };
        if room >= 3 && !is_plain(*next) {
            quote(*next, encoded);
            room -= 3;
            rest = after;
        } else {
            encoded.extend_from_slice(b"=\r\n");
            room = LINE - 1;
            rest = more;
        }
    }
    if let Some(blank) = blank {
        if room < 3 {
            encoded.extend_from_slice(b"=\r\n");
        }
        quote(blank, encoded);
    }
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t') && byte != b'='
}

fn quote(byte: u8, encoded: &mut Vec<u8>) {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 15)];
    encoded.extend([b'=', digit(byte >> 4), digit(byte)]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body as a mail program does.
    fn read(body: &Body) -> Vec<u8> {
        let sent = String::from_utf8(body.as_ref().to_vec()).unwrap();
        assert!(sent.is_ascii() && sent.split("\r\n").all(|line| line.len() <= LINE), "{sent:?}");
        assert!(!sent.replace("\r\n", "").contains(['\r', '\n']), "{sent:?}");
        match body.encoding() {
            ContentTransferEncoding::SevenBit => sent.into_bytes(),
            ContentTransferEncoding::Base64 => BASE64_STANDARD.decode(sent.replace("\r\n", "")).unwrap(),
            ContentTransferEncoding::QuotedPrintable => {
                assert!(!sent.split("\r\n").any(|line| line.ends_with([' ', '\t'])), "{sent:?}");
                let joined = sent.replace("=\r\n", "");
                let mut pieces = joined.split('=');
                let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
                for piece in pieces {
                    bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
                    bytes.extend_from_slice(&piece.as_bytes()[2..]);
                }
                bytes
            }
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

    #[test]
    fn a_text_travels_in_the_way_that_keeps_it_readable_and_short() {
        for (content, way) in [
            ("short\nand plain\n", ContentTransferEncoding::SevenBit),
            ("", ContentTransferEncoding::SevenBit),
            ("Départ à neuf heures, place de la Bastille\n", ContentTransferEncoding::QuotedPrintable),
            (
                "<p style=\"margin:0;\">one line that is longer than seventy-six letters, as lines of HTML are</p>\n",
                ContentTransferEncoding::QuotedPrintable,
            ),
            ("Αθήνα, Ακρόπολη\n", ContentTransferEncoding::Base64),
        ] {
            let body = text(content);
            assert_eq!(body.encoding(), way, "{content}");
            assert_eq!(String::from_utf8(read(&body)).unwrap(), content.replace('\n', "\r\n"));
        }
        // A full line, and a space at its end.
        let line = format!("é{} ", "=".repeat(23));
        assert_eq!(text(&line).as_ref(), format!("=C3=A9{}=\r\n=20", "=3D".repeat(23)).as_bytes());
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(content in "([ -~é=\t]{0,90}( |\n|\r\n)?){0,8}") {
            let lines = content.replace("\r\n", "\n").replace('\n', "\r\n");
            prop_assert_eq!(String::from_utf8(read(&text(&content))).unwrap(), lines);
        }
    }
}
