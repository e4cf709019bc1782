//! What looks like a card number. None ever belongs here: clients hand over the provider's token instead.

use tourmesh::common::v1::ErrorReason;

use crate::{ApiError, ApiResult};

/// How many digits card numbers have (ISO/IEC 7812).
const LENGTHS: std::ops::RangeInclusive<usize> = 13..=19;

/// The text holds, anywhere, 13 to 19 digits that pass the Luhn check, written together or in groups that single spaces,
/// dashes or dots keep apart.
pub fn is_held_in(text: &str) -> bool {
    runs(text).any(|groups| {
        // A number may stand beside other digits ("2 x 4242 4242 …"), so every row of whole groups counts.
        (0..groups.len()).any(|from| {
            let mut digits = String::new();
            groups[from..].iter().any(|group| {
                digits.push_str(group);
                is_number(&digits)
            })
        })
    })
}

/// Refuses a request's field that holds one; the number is neither stored nor logged nor sent back.
///
/// # Errors
/// CARD_NUMBER_REFUSED, naming the field.
pub fn refuse(field: &str, text: &str) -> ApiResult<()> {
    if !is_held_in(text) {
        return Ok(());
    }
    let message =
        format!("{field} holds what looks like a card number; send the provider's token for the card instead");
    Err(ApiError::new(ErrorReason::CardNumberRefused, message).violation(field, "must not hold a card number"))
}

/// The whole text is nothing but a number that a payment card could have. For ids that machines make: those are often
/// long rows of digits, so only the first digits of payment networks (2 to 6) count.
pub fn is_whole(text: &str) -> bool {
    let mut runs = runs(text);
    let (Some(groups), None) = (runs.next(), runs.next()) else { return false };
    let digits = groups.concat();
    let nothing_else = text.chars().all(|c| c.is_ascii_digit() || is_separator(c));
    nothing_else && matches!(digits.as_bytes().first(), Some(b'2'..=b'6')) && is_number(&digits)
}

/// Rows of digit groups that single separators keep apart.
fn runs(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.split(|c: char| !c.is_ascii_digit() && !is_separator(c))
        // An empty group is a double separator: it ends the row.
        .flat_map(|row| {
            row.split(is_separator)
                .collect::<Vec<_>>()
                .split(|g| g.is_empty())
                .map(<[&str]>::to_vec)
                .collect::<Vec<_>>()
        })
        .filter(|groups| !groups.is_empty())
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '-' | '.' | '\u{a0}')
}

fn is_number(digits: &str) -> bool {
    // Rows of one digit, such as zeros for padding, pass Luhn and are nobody's card.
    let varied = digits.bytes().any(|d| Some(&d) != digits.as_bytes().first());
    LENGTHS.contains(&digits.len()) && varied && luhn(digits)
}

fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            let weighed = if place % 2 == 1 { digit * 2 } else { digit };
            if weighed > 9 { weighed - 9 } else { weighed }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_networks_own_test_numbers_are_found_however_they_are_written() {
        for number in [
            "4242424242424242",
            "4222222222222",
            "378282246310005",
            "6011111111111117",
            "3056930009020004",
            "5555555555554444",
            "2223003122003222",
            "6205500000000000004",
        ] {
            assert!(is_held_in(number), "{number}");
            assert!(is_whole(number), "{number}");
            assert!(is_held_in(&format!("my card is {number}, thanks")), "{number}");
            assert!(is_held_in(&format!("https://shop.example/?pan={number}&x=1")), "{number}");
            let groups: Vec<String> =
                number.as_bytes().chunks(4).map(|g| String::from_utf8_lossy(g).into_owned()).collect();
            for separator in [" ", "-", "."] {
                assert!(is_held_in(&groups.join(separator)), "{number} {separator:?}");
                assert!(is_held_in(&format!("2 {}", groups.join(separator))), "{number} {separator:?}");
            }
        }
    }

    #[test]
    fn tokens_ids_and_other_numbers_are_let_through() {
        for harmless in [
            "card_ok",
            "pm_1MqLiJLkdIwHu7ixUEgbFdYF",
            "4242424242424241",
            "bkg_0197a3b25c1f7d3e9a4b5c6d7e8f9012",
            "+33 1 23 45 67 89",
            "2026-11-21 09:00",
            "0000000000000000",
            "424242424242",
            "",
        ] {
            assert!(!is_held_in(harmless), "{harmless}");
            assert!(!is_whole(harmless), "{harmless}");
        }
        // Milliseconds since 1970 that happen to pass Luhn.
        assert!(!is_whole("1763712345674"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,60}") {
            let _ = (is_held_in(&text), is_whole(&text));
        }
    }
}
