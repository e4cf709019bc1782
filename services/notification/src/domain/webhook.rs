//! Messages to programs: their signature, and when they are tried again.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What an endpoint can hear of.
pub const EVENTS: &[&str] = &[
    "booking.held",
    "booking.confirmed",
    "booking.changed",
    "booking.rescheduled",
    "booking.cancelled",
    "booking.expired",
    "booking.redeemed",
];

/// The pauses after each failure, in seconds: the first seconds for a restart, then over three days for everything else.
/// It is the schedule that Standard Webhooks recommends.
pub const PAUSES: &str = "5,300,1800,7200,18000,36000,50400,72000,86400";

/// A secret as its owner sees it.
pub fn secret_text(secret: &[u8]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(secret))
}

/// The header `webhook-signature`: one signature for each secret, with spaces between.
pub fn signatures<'s>(secrets: impl IntoIterator<Item = &'s [u8]>, id: &str, timestamp: i64, body: &str) -> String {
    let sign = |secret: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Some(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
    };
    secrets.into_iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

/// How long to wait after the `attempt`-th try (1 for the first) has failed; `None`: it was the last. `jitter` is a
/// random number from 0 to 1000: pauses lie between whole and a tenth more. What the endpoint asked for counts when it
/// is longer.
pub fn pause(pauses: &[Duration], attempt: u32, asked: Option<Duration>, jitter: u32) -> Option<Duration> {
    let whole = *pauses.get(attempt.checked_sub(1)? as usize)?;
    let whole = whole.max(asked.unwrap_or_default());
    Some(whole + whole / 10 * jitter.min(1000) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the reference library in Python (standardwebhooks 1.0) signs.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(
            [secret.as_slice(), secret.as_slice()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed, format!("{one} {one}"));
        assert_eq!(secret_text(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn tries_go_on_for_three_days_and_end() {
        let pauses: Vec<Duration> = PAUSES.split(',').map(|s| Duration::from_secs(s.parse().unwrap())).collect();
        let all: Duration = (1..).map_while(|n| pause(&pauses, n, None, 0)).sum();
        assert!(all >= Duration::from_secs(3 * 86_400) && all < Duration::from_secs(4 * 86_400), "{all:?}");
        assert_eq!(pause(&pauses, 10, None, 0), None);
        assert_eq!(pause(&pauses, 1, Some(Duration::from_secs(60)), 0), Some(Duration::from_secs(60)));
        assert_eq!(pause(&pauses, 2, Some(Duration::from_secs(60)), 1000), Some(Duration::from_secs(330)));
    }
}
