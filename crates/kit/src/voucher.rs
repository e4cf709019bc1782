//! Voucher tokens: what the QR code of a ticket holds. A token is the voucher's own code (128 random bits, so nobody
//! guesses one) with a signature, so that what was made up is refused without a look into the database, and a code that
//! leaks from a list cannot be turned into a ticket that scans.
//!
//! `TM1.<code>.<signature>`: upper case letters, digits and dots, which QR codes hold in 5.5 bits each. The signature is
//! 80 bits of HMAC-SHA256 in Crockford's base 32.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    auth,
    config::{ConfigError, Env, Setting},
};

/// The keys.
pub const VOUCHER_SECRET: Setting = Setting::secret(
    "VOUCHER_SECRET",
    "Signs the QR codes of tickets; booking and notification must have the same. Several, with commas between: the first one signs, all are accepted. By default it is derived from MESH_SECRET, so set it before you change that.",
);

const VERSION: &str = "TM1";
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 80 bits.
const SIGNATURE: usize = 16;

/// The keys that sign and check. Clones are cheap.
#[derive(Clone)]
pub struct VoucherKeys(Vec<Hmac<Sha256>>);

impl std::fmt::Debug for VoucherKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("VoucherKeys").field(&self.0.len()).finish()
    }
}

/// The text looks like a token and is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the voucher's signature does not fit")]
pub struct Forged;

impl VoucherKeys {
    /// Those of the settings.
    ///
    /// # Errors
    /// When a secret is shorter than 32 characters, or there is neither VOUCHER_SECRET nor MESH_SECRET.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let Some(secrets) = env.optional::<String>(&VOUCHER_SECRET)? else {
            return Ok(Self::of(&[&env.get::<String>(&auth::MESH_SECRET)?]));
        };
        let secrets: Vec<&str> = secrets.split(',').map(str::trim).collect();
        if secrets.iter().any(|s| s.len() < 32) {
            return Err(env.error(&VOUCHER_SECRET, "is shorter than 32 characters"));
        }
        Ok(Self::of(&secrets))
    }

    /// These secrets; the first one signs.
    pub fn of(secrets: &[&str]) -> Self {
        let keys = secrets.iter().filter_map(|s| {
            // The secret may sign other things too: what is signed here begins with words of its own.
            let mut mac = Hmac::<Sha256>::new_from_slice(s.as_bytes()).ok()?;
            mac.update(b"tourmesh voucher 1\0");
            Some(mac)
        });
        Self(keys.collect())
    }

    /// The token of a voucher code.
    pub fn token(&self, code: &str) -> String {
        let signature = self.0.first().map(|key| signature(key, code)).unwrap_or_default();
        format!("{VERSION}.{code}.{signature}")
    }

    /// The voucher code of what was scanned: of a token when its signature fits, and of what is no token as it is.
    ///
    /// # Errors
    /// [`Forged`].
    pub fn read<'t>(&self, scanned: &'t str) -> Result<&'t str, Forged> {
        let scanned = scanned.trim();
        let Some(rest) = scanned.strip_prefix(VERSION).and_then(|r| r.strip_prefix('.')) else { return Ok(scanned) };
        let (code, given) = rest.split_once('.').ok_or(Forged)?;
        let fits = |key: &Hmac<Sha256>| same(signature(key, code).as_bytes(), given.as_bytes());
        if self.0.iter().any(fits) { Ok(code) } else { Err(Forged) }
    }
}

fn signature(key: &Hmac<Sha256>, code: &str) -> String {
    let mut mac = key.clone();
    mac.update(code.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let bits = bytes.iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..SIGNATURE)
        .rev()
        .map(|n| char::from(ALPHABET[usize::try_from(bits >> (5 * n) & 31).unwrap_or_default()]))
        .collect()
}

/// Takes as long for every wrong signature.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "0123456789ABCDEFGHJKMNPQRS";

    #[test]
    fn a_token_reads_back_and_no_changed_one_does() {
        let keys = VoucherKeys::of(&["a secret that is long enough, really"]);
        let token = keys.token(CODE);
        assert_eq!(token.len(), 3 + 1 + 26 + 1 + 16);
        assert_eq!(keys.read(&format!(" {token}\n")), Ok(CODE));
        for at in 4..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(keys.read(&changed), Err(Forged), "{changed}");
        }
        assert_eq!(keys.read("TM1.X"), Err(Forged));
        assert_eq!(VoucherKeys::of(&["another secret that is long enough"]).read(&token), Err(Forged));
    }

    #[test]
    fn what_was_typed_by_hand_passes_as_it_is() {
        assert_eq!(VoucherKeys::of(&["s"]).read(" 0123-4567 "), Ok("0123-4567"));
    }

    #[test]
    fn a_second_secret_is_still_accepted_and_signs_nothing() {
        let (old, new) = ("the old secret that is long enough", "the new secret that is long enough");
        let both = VoucherKeys::of(&[new, old]);
        assert_eq!(both.read(&VoucherKeys::of(&[old]).token(CODE)), Ok(CODE));
        assert_eq!(both.token(CODE), VoucherKeys::of(&[new]).token(CODE));
    }
}
