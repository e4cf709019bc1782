//! Secrets at rest: sealed with ChaCha20-Poly1305 under a key that is derived from a secret of the settings, so that who
//! reads the database, or a copy of it, reads none of them.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom as _, SystemRandom},
};

use crate::{ApiError, ApiResult};

/// Seals and opens. The name of what is sealed is bound in, so that two rows cannot be swapped.
#[derive(Clone)]
pub struct Seal(LessSafeKey);

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(…)")
    }
}

impl Seal {
    /// Under this secret, for one purpose of one service: what is sealed for another does not open.
    ///
    /// # Errors
    /// When the key cannot be derived; its length is the algorithm's own, so that would be a defect.
    pub fn new(secret: &str, service: &str, purpose: &str) -> Result<Self, Unspecified> {
        let derived = Salt::new(HKDF_SHA256, service.as_bytes()).extract(secret.as_bytes());
        let purpose = [purpose.as_bytes()];
        let key = derived.expand(&purpose, &CHACHA20_POLY1305)?;
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// A random nonce, then the sealed bytes with their tag.
    ///
    /// # Errors
    /// INTERNAL when the system has no randomness.
    pub fn close(&self, name: &str, plain: &[u8]) -> ApiResult<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|e| ApiError::internal(e.to_string()))?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|e| ApiError::internal(e.to_string()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// The plain bytes; `None` when they were sealed under another secret or name, or were changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        Some(self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes).ok()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_and_name_open_what_was_sealed() {
        let of = |secret: &str, purpose: &str| Seal::new(secret, "tourmesh kit", purpose).unwrap();
        let seal = of("a secret of at least 32 characters", "keys");
        let sealed = seal.close("kid-1", b"private").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"private"));
        assert_eq!(seal.open("kid-1", &sealed).as_deref(), Some(&b"private"[..]));
        assert_eq!(seal.open("kid-2", &sealed), None);
        assert_eq!(of("another secret of 32 characters!", "keys").open("kid-1", &sealed), None);
        assert_eq!(of("a secret of at least 32 characters", "doors").open("kid-1", &sealed), None);
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(seal.open("kid-1", &changed), None);
        assert_eq!(seal.open("kid-1", &[]), None);
    }
}
