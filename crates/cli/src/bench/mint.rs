//! Tokens of as many customers as a measurement needs. Only for a mesh that this process started itself: it is told to
//! trust a key that exists nowhere else. Signing up thousands of people would measure the hashing of passwords.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tourmesh_kit::auth::{AUDIENCE, Claims, ISSUER, Role, role_text};
use uuid::Uuid;

/// The name of the key.
const KEY_ID: &str = "bench";
/// How long a token is good: longer than any measurement.
const AGE: u64 = 24 * 3600;
/// ASN.1 of a PKCS #8 version 1 Ed25519 private key, before the seed (RFC 8410).
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Signs tokens.
pub struct Mint {
    key: EncodingKey,
    /// The public half, as services read it.
    pub jwks: String,
}

impl Mint {
    /// With a new key.
    pub fn new() -> anyhow::Result<Self> {
        let seed: [u8; 32] = rand::random();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok().context("no signing key could be made")?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwks = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"{KEY_ID}","x":"{x}"}}]}}"#
        );
        Ok(Self { key: EncodingKey::from_ed_der(&[&PKCS8_HEAD[..], &seed[..]].concat()), jwks })
    }

    /// The token of somebody new with these roles.
    pub fn token(&self, roles: &[Role]) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: format!("usr_{}", Uuid::now_v7().simple()),
            roles: roles.iter().map(|r| role_text(*r).to_owned()).collect(),
            sup: None,
            iat: now,
            exp: now + AGE,
            jti: String::new(),
        };
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, &claims, &self.key)?)
    }
}
