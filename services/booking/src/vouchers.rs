//! Voucher codes: 128 random bits each, in an alphabet that survives being read out loud.

use crate::domain::booking::Booking;

/// Crockford's base 32: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A new code that nobody can guess.
fn voucher() -> String {
    let mut bits: u128 = rand::random();
    let mut code = String::with_capacity(26);
    for _ in 0..26 {
        code.push(char::from(ALPHABET[usize::try_from(bits & 31).unwrap_or_default()]));
        bits >>= 5;
    }
    code
}

/// A code for each guest of a booking.
pub(crate) fn vouchers(booking: &Booking) -> Vec<String> {
    booking.items.iter().map(|_| voucher()).collect()
}

/// A code as it was typed: case, spaces and hyphens do not matter, and letters that look like digits are those digits.
pub(crate) fn typed(code: &str) -> String {
    let kept = code.chars().filter(|c| !c.is_whitespace() && *c != '-');
    kept.map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_128_bits_and_survives_being_typed() {
        let code = voucher();
        assert_eq!(code.len(), 26);
        assert_ne!(code, voucher());
        assert_eq!(typed(&format!(" {}-{} ", code[..10].to_lowercase(), &code[10..])), code);
    }
}
