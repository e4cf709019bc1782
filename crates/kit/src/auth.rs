//! Who calls: every service verifies tokens itself.
//!
//! People carry access tokens that Identity signs (EdDSA; public keys by GetJwks, or given as the setting JWKS_JSON).
//! Services carry short tokens signed with the mesh's shared secret, made by [`ServiceTokens`]. A token that was verified
//! is remembered until it ends, so that a signature is checked once per token and process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http::Extensions;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind, jwk::JwkSet};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tonic::transport::Channel;
use tourmesh::identity::v1::{GetJwksRequest, identity_service_client::IdentityServiceClient};
pub use tourmesh::options::v1::Role;

use crate::{
    ApiError, ApiResult, ErrorReason,
    config::{ConfigError, Env, Setting},
};

/// The issuer of people's tokens.
pub const ISSUER: &str = "tourmesh-identity";
/// Whom all tokens are for.
pub const AUDIENCE: &str = "tourmesh";
/// The issuer of services' tokens.
const MESH_ISSUER: &str = "tourmesh-mesh";
/// How long a service's token is good.
const SERVICE_TOKEN_AGE: Duration = Duration::from_secs(600);
/// How often the public keys are asked for at most, when a token names an unknown key.
const KEY_PAUSE: Duration = Duration::from_secs(1);
/// How many verified tokens are remembered.
const REMEMBERED: usize = 20_000;

/// Signs the calls between services.
pub const MESH_SECRET: Setting = Setting::secret(
    "MESH_SECRET",
    "Shared by all roles and nobody else; signs their calls to each other. At least 32 characters.",
);
/// Public keys of access tokens, instead of asking Identity.
pub const JWKS_JSON: Setting = Setting::optional(
    "JWKS_JSON",
    "A JSON Web Key Set to verify access tokens with, instead of asking Identity for it.",
);

/// What every service can set.
pub const SETTINGS: &[Setting] = &[MESH_SECRET, JWKS_JSON];

/// The content of a token (RFC 7519).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// "usr_…", or a service's role.
    pub sub: String,
    /// See [`role_text`].
    #[serde(default)]
    pub roles: Vec<String>,
    /// "sup_…": the supplier that the user works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sup: Option<String>,
    /// Made at, seconds since 1970.
    pub iat: u64,
    /// Good until, seconds since 1970.
    pub exp: u64,
    /// Unique.
    #[serde(default)]
    pub jti: String,
}

/// A role as tokens have it.
pub fn role_text(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "",
        Role::Traveller => "traveller",
        Role::Supplier => "supplier",
        Role::Staff => "staff",
        Role::Service => "service",
    }
}

/// The other way round. `service` is no role that a person's token can grant.
pub fn role_of_text(text: &str) -> Option<Role> {
    [Role::Traveller, Role::Supplier, Role::Staff].into_iter().find(|r| role_text(*r) == text)
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody said.
    Anonymous,
    /// A person.
    User {
        /// "usr_…".
        id: String,
        /// What the person may do.
        roles: Vec<Role>,
        /// "sup_…": the supplier that the person works for; counts only with the role supplier.
        supplier: Option<String>,
    },
    /// Another service of the mesh.
    Service {
        /// Such as `booking`.
        role: String,
    },
}

impl Principal {
    /// The caller of a request that came through the kit's server.
    pub fn of(extensions: &Extensions) -> &Self {
        extensions.get::<Arc<Self>>().map_or(&Self::Anonymous, |p| p)
    }
    /// The roles, for access rules.
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Anonymous => &[],
            Self::User { roles, .. } => roles,
            Self::Service { .. } => &[Role::Service],
        }
    }
    /// It has the role.
    pub fn has(&self, role: Role) -> bool {
        self.roles().contains(&role)
    }
    /// "usr_…".
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User { id, .. } => Some(id),
            _ => None,
        }
    }
    /// "sup_…", only with the role supplier.
    pub fn supplier_id(&self) -> Option<&str> {
        match self {
            Self::User { supplier, .. } if self.has(Role::Supplier) => supplier.as_deref(),
            _ => None,
        }
    }
    /// It is another service.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Service { .. })
    }
    /// A stable text for idempotency keys.
    pub fn scope(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::User { id, .. } => id.clone(),
            Self::Service { role } => format!("service:{role}"),
        }
    }
}

/// By the token's SHA-256: who holds it, and until when (seconds since 1970).
type Verified = Cache<[u8; 32], (Arc<Principal>, u64)>;

/// Verifies tokens. Clones share keys and memory.
#[derive(Clone)]
pub struct Verifier {
    mesh: DecodingKey,
    keys: Arc<ArcSwap<HashMap<String, DecodingKey>>>,
    identity: Option<IdentityServiceClient<Channel>>,
    asked: Arc<tokio::sync::Mutex<Option<Instant>>>,
    verified: Arc<Verified>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.load().len()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Verifies with JWKS_JSON when it is set, else with the keys that `identity` has.
    ///
    /// # Errors
    /// When MESH_SECRET is missing or short, or JWKS_JSON is no key set.
    pub fn of_env(env: &Env, identity: Channel) -> Result<Self, ConfigError> {
        let given = env.optional::<String>(&JWKS_JSON)?;
        let keys = match &given {
            Some(json) => read_keys(json).map_err(|e| env.error(&JWKS_JSON, &e))?,
            None => HashMap::new(),
        };
        Ok(Self {
            mesh: DecodingKey::from_secret(mesh_secret(env)?.as_bytes()),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            identity: given.is_none().then(|| IdentityServiceClient::new(identity)),
            asked: Arc::default(),
            verified: Arc::new(Cache::new(REMEMBERED)),
        })
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// TOKEN_INVALID, TOKEN_EXPIRED, or DEPENDENCY_UNAVAILABLE when the key is unknown and Identity does not answer.
    pub async fn verify(&self, token: &str) -> ApiResult<Arc<Principal>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some((principal, ends)) = self.verified.get(&digest) {
            if ends > now() {
                return Ok(principal);
            }
            self.verified.remove(&digest);
            return Err(expired());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        let (principal, ends) = match (header.alg, header.kid) {
            (Algorithm::HS256, _) => {
                let claims = decode(token, &self.mesh, Algorithm::HS256, MESH_ISSUER)?;
                (Principal::Service { role: claims.sub }, claims.exp)
            }
            (Algorithm::EdDSA, Some(kid)) => {
                // Boxed as all that is rare on the way of every call: the way is as large as the largest of it.
                let key = Box::pin(self.key(&kid)).await?;
                let claims = decode(token, &key, Algorithm::EdDSA, ISSUER)?;
                let roles = claims.roles.iter().filter_map(|r| role_of_text(r)).collect();
                (Principal::User { id: claims.sub, roles, supplier: claims.sup }, claims.exp)
            }
            _ => return Err(invalid()),
        };
        let principal = Arc::new(principal);
        self.verified.insert(digest, (principal.clone(), ends));
        Ok(principal)
    }

    async fn key(&self, kid: &str) -> ApiResult<DecodingKey> {
        if let Some(key) = self.keys.load().get(kid) {
            return Ok(key.clone());
        }
        let Some(identity) = &self.identity else { return Err(invalid()) };
        // One asks, the others wait and look again.
        let mut asked = self.asked.lock().await;
        if let Some(key) = self.keys.load().get(kid) {
            return Ok(key.clone());
        }
        if asked.is_some_and(|at| at.elapsed() < KEY_PAUSE) {
            let known = !self.keys.load().is_empty();
            return Err(if known {
                invalid()
            } else {
                ApiError::unavailable("identity", "its keys are not known yet")
            });
        }
        // Noted before the answer: while Identity hangs, one asks at a time and the others are told at once.
        *asked = Some(Instant::now());
        let mut request = tonic::Request::new(GetJwksRequest {});
        request.set_timeout(Duration::from_secs(2));
        let answer = identity.clone().get_jwks(request).await.map_err(|e| ApiError::unavailable("identity", e))?;
        let keys = read_keys(&answer.into_inner().jwks_json).map_err(ApiError::internal)?;
        let found = keys.get(kid).cloned();
        self.keys.store(Arc::new(keys));
        found.ok_or_else(invalid)
    }
}

fn read_keys(json: &str) -> Result<HashMap<String, DecodingKey>, String> {
    let set: JwkSet = serde_json::from_str(json).map_err(|e| format!("is not a JSON Web Key Set: {e}"))?;
    let keys = set.keys.iter().filter_map(|jwk| Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(jwk).ok()?)));
    Ok(keys.collect())
}

fn decode(token: &str, key: &DecodingKey, algorithm: Algorithm, issuer: &str) -> ApiResult<Claims> {
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.leeway = 5;
    match jsonwebtoken::decode::<Claims>(token, key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(expired()),
        Err(_) => Err(invalid()),
    }
}

fn invalid() -> ApiError {
    ApiError::new(
        ErrorReason::TokenInvalid,
        "the token is malformed, wrongly signed or from somebody else; sign in again",
    )
}

fn expired() -> ApiError {
    ApiError::new(ErrorReason::TokenExpired, "the token has ended; refresh it")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn mesh_secret(env: &Env) -> Result<String, ConfigError> {
    let secret: String = env.get(&MESH_SECRET)?;
    if secret.len() < 32 {
        return Err(env.error(&MESH_SECRET, "is shorter than 32 characters"));
    }
    Ok(secret)
}

/// Makes the tokens with which this role calls others. Clones share the current one.
#[derive(Clone)]
pub struct ServiceTokens {
    role: &'static str,
    key: EncodingKey,
    current: Arc<Mutex<Option<(String, u64)>>>,
}

impl std::fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTokens").field("role", &self.role).finish_non_exhaustive()
    }
}

impl ServiceTokens {
    /// For the role of the environment.
    ///
    /// # Errors
    /// When MESH_SECRET is missing or short.
    pub fn of_env(env: &Env) -> Result<Self, ConfigError> {
        let key = EncodingKey::from_secret(mesh_secret(env)?.as_bytes());
        Ok(Self { role: env.role(), key, current: Arc::default() })
    }

    /// A token that is good for at least half its age.
    ///
    /// # Errors
    /// INTERNAL when it cannot be signed.
    pub fn token(&self) -> ApiResult<String> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        if let Some((token, ends)) = &*current
            && ends - now.min(*ends) > SERVICE_TOKEN_AGE.as_secs() / 2
        {
            return Ok(token.clone());
        }
        let exp = now + SERVICE_TOKEN_AGE.as_secs();
        let claims = Claims {
            iss: MESH_ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: self.role.to_owned(),
            roles: Vec::new(),
            sup: None,
            iat: now,
            exp,
            jti: uuid::Uuid::now_v7().simple().to_string(),
        };
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).map_err(ApiError::internal)?;
        *current = Some((token.clone(), exp));
        Ok(token)
    }
}
