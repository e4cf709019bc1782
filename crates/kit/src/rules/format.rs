//! The named text forms of options.proto: what fits, and how a caller is told what would.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use tourmesh::options::v1::Format;

use crate::money::Currency;

/// RFC 5321 leaves an address 254 bytes.
const EMAIL_BYTES: usize = 254;

/// The languages that the platform writes in.
const LANGUAGES: [&str; 2] = ["en", "fr"];

/// The text has the form. Only asked of texts that are not empty.
pub(super) fn fits(format: Format, text: &str) -> bool {
    match format {
        Format::Unspecified => true,
        Format::Email => is_email(text),
        Format::Currency => text.parse::<Currency>().is_ok(),
        Format::Country => COUNTRIES.binary_search(&text).is_ok(),
        Format::Language => LANGUAGES.contains(&text),
        Format::Date => has_shape(text, "0000-00-00") && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        Format::LocalDateTime => {
            has_shape(text, "0000-00-00T00:00") && NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").is_ok()
        }
        Format::Time => has_shape(text, "00:00") && NaiveTime::parse_from_str(text, "%H:%M").is_ok(),
        Format::TimeZone => text.parse::<Tz>().is_ok(),
        Format::RequestId => {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
        }
    }
}

/// What the caller should have sent.
pub(super) fn wanted(format: Format) -> &'static str {
    match format {
        Format::Unspecified => "must be a text",
        Format::Email => "must be an e-mail address",
        Format::Currency => "must be an ISO 4217 currency in use, such as EUR",
        Format::Country => "must be an ISO 3166-1 alpha-2 country code, such as FR",
        Format::Language => "must be \"en\" or \"fr\"",
        Format::Date => "must be a date such as 2026-12-31",
        Format::LocalDateTime => "must be a local date and time such as 2026-12-31T09:00",
        Format::Time => "must be a time of day such as 09:00",
        Format::TimeZone => "must be an IANA time zone such as Europe/Paris",
        Format::RequestId => "must be 1 to 64 characters of A-Z a-z 0-9 . _ : -",
    }
}

/// Only what every mail server would refuse is refused: whether the address exists shows when a mail is sent.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    text.len() <= EMAIL_BYTES
        && !local.is_empty()
        && !domain.contains('@')
        && domain.split('.').all(|label| !label.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A digit where the pattern has a zero, else the pattern's own character. chrono alone would also take "+2026-1- 1",
/// and one moment must have one spelling.
fn has_shape(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(b, p)| if p == b'0' { b.is_ascii_digit() } else { b == p })
}

/// ISO 3166-1 alpha-2, the 249 codes that are assigned, in order (the search is binary).
#[rustfmt::skip]
const COUNTRIES: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ",
    "BA", "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS",
    "BT", "BV", "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN",
    "CO", "CR", "CU", "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE",
    "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF",
    "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM",
    "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM",
    "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC",
    "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK",
    "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA",
    "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG",
    "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW",
    "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS",
    "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO",
    "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG", "VI",
    "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_takes_its_own_and_refuses_its_neighbours() {
        let local = "a".repeat(250);
        let (long, longest) = (format!("{local}@b.c"), format!("{}@b.c", "a".repeat(251)));
        let (sixty_four, sixty_five) = ("a".repeat(64), "a".repeat(65));
        #[rustfmt::skip]
        let table: &[(Format, &[&str], &[&str])] = &[
            (Format::Email, &["a@b", "ana.lopes+x@mail.example", "é@exämple.fr", &long],
                &["a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b ", "a@b\n", "a@b\u{7f}", "a\u{a0}b@c", "a@.b", "a@b.",
                  "a@b..c", "a\0@b", &longest]),
            (Format::Currency, &["EUR", "JPY"], &["eur", "EU", "EURO", "XXX", "DEM"]),
            (Format::Country, &["FR", "GB", "AD", "ZW"], &["fr", "F", "FRA", "UK", "XK", "EU", "ZZ", "F "]),
            (Format::Language, &["en", "fr"], &["EN", "de", "en-GB", "e"]),
            (Format::Date, &["2026-12-31", "2028-02-29"],
                &["2026-02-29", "2026-13-01", "2026-1-01", "2026-12-31 ", "+026-12-31", "2026/12/31",
                  "26-12-31", "2026-12- 1"]),
            (Format::LocalDateTime, &["2026-12-31T09:00", "2026-12-31T23:59"],
                &["2026-12-31", "2026-12-31 09:00", "2026-12-31T24:00", "2026-12-31T9:00", "2026-12-31T09:60",
                  "2026-12-31T09:00Z"]),
            (Format::Time, &["09:00", "00:00", "23:59"],
                &["9:00", "24:00", "09:60", "09-00", "09:00:00", " 9:00", "0\u{661}0"]),
            (Format::TimeZone, &["Europe/Paris", "UTC", "Antarctica/Troll"],
                &["Europe/paris", "Paris", "+01:00", "CEST"]),
            (Format::RequestId, &["a", "A-z.0_9:", &sixty_four], &["", "a b", "é", "a/b", &sixty_five]),
        ];
        for (format, good, bad) in table {
            for text in *good {
                assert!(fits(*format, text), "{format:?} takes {text:?}");
            }
            for text in *bad {
                assert!(!fits(*format, text), "{format:?} refuses {text:?}");
            }
        }
    }

    #[test]
    fn the_countries_are_in_order_or_the_search_would_miss_some() {
        assert!(COUNTRIES.is_sorted_by(|a, b| a < b));
        assert!(COUNTRIES.iter().all(|c| c.len() == 2 && c.bytes().all(|b| b.is_ascii_uppercase())));
    }

    #[test]
    fn every_format_of_the_proto_tells_what_it_wants() {
        for number in 1.. {
            let Ok(format) = Format::try_from(number) else {
                break;
            };
            assert!(wanted(format).starts_with("must be ") && !fits(format, "\u{1}"), "{format:?}");
        }
    }
}
