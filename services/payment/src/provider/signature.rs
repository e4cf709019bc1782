//! Webhook signatures in Stripe's form, which the sandbox shares: `t=<unix seconds>,v1=<hex>`, where the hex is
//! HMAC-SHA256 over `<t>.<body>`. Several `v1` may stand there while a secret is rolled; other schemes are ignored.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// How far the signing time may lie from ours, either way.
pub const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Why an event is not believed. What exactly was wrong is for our log; the sender is told one reason for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is not of this form.
    #[error("the signature header is malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("the signature is older than five minutes, or from the future")]
    Stale,
    /// Signed with another secret, or another body.
    #[error("the signature does not fit the body")]
    Mismatch,
}

/// The header for a body.
pub fn sign(secret: &[u8], body: &[u8], now: DateTime<Utc>) -> String {
    let time = now.timestamp().to_string();
    let hex = mac(secret, &time, body).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
    format!("t={time},v1={hex}")
}

/// Checks a header, in constant time where it counts.
///
/// # Errors
/// When it does not fit or is stale.
pub fn verify(secret: &[u8], body: &[u8], header: &str, now: DateTime<Utc>) -> Result<(), SignatureError> {
    verify_any(&[secret], body, header, now)
}

/// The same where any of several secrets will do, as while one is rolled.
///
/// # Errors
/// When it fits none, or is stale.
pub fn verify_any(
    secrets: &[impl AsRef<[u8]>],
    body: &[u8],
    header: &str,
    now: DateTime<Utc>,
) -> Result<(), SignatureError> {
    let mut time = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", value)) => time = Some(value),
            Some(("v1", value)) => signatures.push(hex::decode(value).map_err(|_| SignatureError::Malformed)?),
            Some(_) => {}
            None => return Err(SignatureError::Malformed),
        }
    }
    let time = time.ok_or(SignatureError::Malformed)?;
    let signed: i64 = time.parse().map_err(|_| SignatureError::Malformed)?;
    let signed = DateTime::from_timestamp(signed, 0).ok_or(SignatureError::Malformed)?;
    // Anybody may send such a header: what is cheap to refuse comes first, and the body is hashed once for each secret.
    if (now - signed).abs() > TOLERANCE {
        return Err(SignatureError::Stale);
    }
    for secret in secrets {
        let mac = mac(secret.as_ref(), time, body).ok_or(SignatureError::Malformed)?;
        // In constant time.
        if signatures.iter().any(|s| mac.clone().verify_slice(s).is_ok()) {
            return Ok(());
        }
    }
    Err(SignatureError::Mismatch)
}

fn mac(secret: &[u8], time: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"whsec_test";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    #[test]
    fn a_signature_fits_its_body_its_secret_and_its_time() {
        let header = sign(SECRET, b"{}", now());
        assert_eq!(verify(SECRET, b"{}", &header, now()), Ok(()));
        assert_eq!(verify(SECRET, b"{}", &header, now() + TimeDelta::seconds(300)), Ok(()));
        assert_eq!(verify(SECRET, b"{}", &header, now() + TimeDelta::seconds(301)), Err(SignatureError::Stale));
        assert_eq!(verify(SECRET, b"{}", &header, now() - TimeDelta::seconds(301)), Err(SignatureError::Stale));
        assert_eq!(verify(SECRET, b"{ }", &header, now()), Err(SignatureError::Mismatch));
        assert_eq!(verify(b"other", b"{}", &header, now()), Err(SignatureError::Mismatch));
        // A replay with a fresher time does not fit.
        let fresher = header.replace("t=1790000000", "t=1790000200");
        assert_eq!(verify(SECRET, b"{}", &fresher, now()), Err(SignatureError::Mismatch));
    }

    #[test]
    fn the_second_signature_of_a_rolled_secret_counts_and_other_schemes_do_not() {
        let header = sign(SECRET, b"{}", now());
        let (time, signature) = header.split_once(',').unwrap();
        assert_eq!(verify(SECRET, b"{}", &format!("{time},v1=00,{signature}"), now()), Ok(()));
        assert_eq!(
            verify(SECRET, b"{}", &format!("{time},{}", signature.replace("v1", "v0")), now()),
            Err(SignatureError::Mismatch)
        );
    }

    #[test]
    fn while_a_secret_is_rolled_the_old_and_the_new_one_count_and_no_other() {
        let secrets = [SECRET, b"whsec_new".as_slice()];
        for secret in secrets {
            assert_eq!(verify_any(&secrets, b"{}", &sign(secret, b"{}", now()), now()), Ok(()));
        }
        let other = sign(b"whsec_older", b"{}", now());
        assert_eq!(verify_any(&secrets, b"{}", &other, now()), Err(SignatureError::Mismatch));
        assert_eq!(verify_any(&[] as &[&[u8]], b"{}", &other, now()), Err(SignatureError::Mismatch));
    }

    #[test]
    fn this_is_stripes_scheme() {
        // HMAC-SHA256("whsec_test", "1790000000.{}"), computed with openssl dgst.
        let header = sign(SECRET, b"{}", now());
        assert_eq!(header.split_once(",v1=").map(|(t, h)| (t, h.len())), Some(("t=1790000000", 64)));
        assert_eq!(header, "t=1790000000,v1=1c2847ad1f8158a1da978f36627ac1f07f7fd027321ac9ad40bccc06743f8396");
    }

    proptest! {
        #[test]
        fn no_header_panics_and_none_is_believed(header in "\\PC{0,80}", body in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(verify(SECRET, &body, &header, now()).is_err());
        }
    }
}
