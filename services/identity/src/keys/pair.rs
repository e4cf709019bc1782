//! One Ed25519 key pair: private half as PKCS#8, public half as a JSON Web Key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{AlgorithmParameters, Jwk},
};
use kit::{ApiError, ApiResult};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use tourmesh_kit as kit;

/// What stands before the 32 bytes of an Ed25519 private key in PKCS#8 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A new pair.
pub(crate) struct Pair {
    /// A random name.
    pub(crate) kid: String,
    /// PKCS#8, DER.
    pub(crate) private: Vec<u8>,
    /// base64url of the public key (RFC 8037 `x`).
    pub(crate) public_x: String,
}

impl Pair {
    /// Made of fresh randomness.
    pub(crate) fn generate() -> ApiResult<Self> {
        let (mut seed, mut name) = ([0; 32], [0; 12]);
        let random = SystemRandom::new();
        random
            .fill(&mut seed)
            .and_then(|()| random.fill(&mut name))
            .map_err(|_| ApiError::internal("the system has no randomness"))?;
        let private = [&PKCS8_HEAD[..], &seed].concat();
        let jwk = Jwk::from_encoding_key(&EncodingKey::from_ed_der(&private), Algorithm::EdDSA)
            .map_err(ApiError::internal)?;
        let AlgorithmParameters::OctetKeyPair(public) = jwk.algorithm else {
            return Err(ApiError::internal("an Ed25519 key gave another kind of JWK"));
        };
        Ok(Self { kid: URL_SAFE_NO_PAD.encode(name), private, public_x: public.x })
    }
}

/// The public half as RFC 7517 and RFC 8037 say.
pub(crate) fn jwk(kid: &str, public_x: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": public_x, "alg": "EdDSA", "use": "sig" })
}
