//! Notifications of browsers: RFC 8030 (the protocol), RFC 8291 and RFC 8188 (encryption), RFC 8292 (VAPID).
//!
//! Written on ring, which is here already: the crate web-push would bring OpenSSL into a binary that has none.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use http::{HeaderName, HeaderValue, header};
use ring::{
    aead, agreement, hkdf,
    rand::{SecureRandom as _, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;
use url::Url;

use crate::{
    courier::SendError,
    domain::retry::Failure,
    out::{Http, HttpError},
    sms::failure,
    store::push::Subscription,
};

/// A browser that is off gets the message within a day.
const TTL: HeaderValue = HeaderValue::from_static("86400");
/// What every push service takes.
const LARGEST: usize = 3_000;
const RECORD: u32 = 4096;

/// Who we are towards the makers of browsers.
pub struct Push {
    http: Http,
    key: EcdsaKeyPair,
    contact: String,
    random: SystemRandom,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("contact", &self.contact).finish_non_exhaustive()
    }
}

/// Why a push message could not be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushError {
    /// As with any message.
    Send(SendError),
    /// The browser is gone for good.
    Gone,
}

impl From<SendError> for PushError {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl Push {
    /// With a P-256 key in PKCS#8, as PEM: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
    ///
    /// # Errors
    /// What is wrong with the key, without the key.
    pub fn new(http: Http, pem: &str, contact: &str) -> Result<Self, String> {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::prelude::BASE64_STANDARD.decode(body.trim()).map_err(|_| "is no PEM".to_owned())?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
            .map_err(|e| format!("is no P-256 key in PKCS#8: {e}"))?;
        Ok(Self { http, key, contact: contact.to_owned(), random })
    }

    /// What a browser needs to subscribe.
    pub fn public_key(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key())
    }

    /// Hands a message over.
    ///
    /// # Errors
    /// When it was not accepted.
    pub async fn send(
        &self,
        to: &Subscription,
        topic: &str,
        message: &[u8],
        urgent: bool,
        at_most: std::time::Duration,
    ) -> Result<(), PushError> {
        let url = Url::parse(&to.endpoint).map_err(|e| SendError::never(format!("the endpoint is no URL: {e}")))?;
        let body = self.encrypted(&to.p256dh, &to.auth, message)?;
        let authorization = HeaderValue::from_str(&self.vapid(&url)?).map_err(|e| SendError::never(e.to_string()))?;
        // A newer message with the same topic replaces one that still waits.
        let topic = HeaderValue::from_str(topic).map_err(|e| SendError::never(e.to_string()))?;
        let urgency = HeaderValue::from_static(if urgent { "high" } else { "normal" });
        let headers = vec![
            (header::AUTHORIZATION, authorization),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
            (header::CONTENT_ENCODING, HeaderValue::from_static("aes128gcm")),
            (HeaderName::from_static("ttl"), TTL),
            (HeaderName::from_static("urgency"), urgency),
            (HeaderName::from_static("topic"), topic),
        ];
        let answer = self.http.post(&url, headers, body.into(), at_most).await.map_err(|e| match e {
            HttpError::Refused(why) => SendError::never(why),
            HttpError::Unreachable(why) => SendError::new(Failure::Unreachable, why),
        })?;
        match answer.status {
            200..=299 => Ok(()),
            404 | 410 => Err(PushError::Gone),
            status => Err(SendError::new(failure(status), format!("{status} {}", answer.body)).into()),
        }
    }

    /// Says who sends: a token for this very service, good for half a day.
    fn vapid(&self, url: &Url) -> Result<String, SendError> {
        let claims = json!({
            "aud": url.origin().ascii_serialization(),
            "exp": Utc::now().timestamp() + 12 * 3600,
            "sub": self.contact,
        });
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(r#"{"typ":"JWT","alg":"ES256"}"#), part(&claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(broken)?;
        let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
        Ok(format!("vapid t={token}, k={}", self.public_key()))
    }

    /// The message as only that browser reads it (RFC 8291), in one record (RFC 8188).
    fn encrypted(&self, browser: &[u8], auth: &[u8], message: &[u8]) -> Result<Vec<u8>, SendError> {
        if message.len() > LARGEST {
            return Err(SendError::never("the message is too long"));
        }
        let private = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &self.random).map_err(broken)?;
        let public = private.compute_public_key().map_err(broken)?;
        let mut salt = [0; 16];
        self.random.fill(&mut salt).map_err(broken)?;
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, browser);
        let sealed = agreement::agree_ephemeral(private, &peer, |shared| {
            let info = [b"WebPush: info\0".as_slice(), browser, public.as_ref()].concat();
            let ikm: [u8; 32] = derived(auth, shared, &info)?;
            let key: [u8; 16] = derived(&salt, &ikm, b"Content-Encoding: aes128gcm\0")?;
            let nonce: [u8; 12] = derived(&salt, &ikm, b"Content-Encoding: nonce\0")?;
            let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key)?);
            let mut sealed = message.to_vec();
            // The last record ends with a 2.
            sealed.push(2);
            key.seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aead::Aad::empty(), &mut sealed)?;
            Ok::<_, ring::error::Unspecified>(sealed)
        });
        let sealed = sealed.map_err(|_| SendError::never("the browser's key is none"))?.map_err(broken)?;
        let length = u8::try_from(public.as_ref().len()).unwrap_or_default();
        Ok([&salt[..], &RECORD.to_be_bytes(), &[length], public.as_ref(), &sealed].concat())
    }
}

fn broken(_: ring::error::Unspecified) -> SendError {
    SendError::never("the message cannot be encrypted")
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn derived<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Result<[u8; N], ring::error::Unspecified> {
    let mut out = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret).expand(&[info], Length(N))?.fill(&mut out)?;
    Ok(out)
}
