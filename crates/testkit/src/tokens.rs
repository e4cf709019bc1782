//! Access tokens as Identity would issue them, signed with a published key that no installation uses.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use tourmesh_kit::auth::{AUDIENCE, Claims, ISSUER, Role, role_text};

/// The key pair of RFC 8037, appendix A.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const KEY_ID: &str = "rfc8037";
/// ASN.1 of a PKCS #8 version 1 Ed25519 private key, before the seed (RFC 8410).
const PKCS8_HEAD: &str = "302e020100300506032b657004220420";

/// The public key set.
pub(crate) const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"rfc8037","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A token that ends `seconds` from now (negative: has ended).
pub(crate) fn token(user: &str, roles: &[Role], supplier: Option<&str>, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = Claims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: user.to_owned(),
        roles: roles.iter().map(|r| role_text(*r).to_owned()).collect(),
        sup: supplier.map(str::to_owned),
        iat: now,
        exp: now.saturating_add_signed(seconds),
        jti: String::new(),
    };
    let key = EncodingKey::from_ed_der(&hex::decode(format!("{PKCS8_HEAD}{SEED}")).unwrap());
    let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}
