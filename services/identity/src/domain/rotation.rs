//! When signing keys come and go: known everywhere before they sign, and still known when their last token has ended.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The times of a key's life.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// A key signs for so long.
    pub rotate_after: Duration,
    /// A key is published so long before it signs.
    pub publish_before: Duration,
    /// A token is good for so long.
    pub token_age: Duration,
}

/// How long a key stays published after its last token has ended, for clocks that differ and answers that are cached.
const LINGER: Duration = Duration::from_secs(86_400);

/// What a key looks like from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTimes {
    /// Its name.
    pub kid: String,
    /// It signs from here on, until the next one does.
    pub active_from: DateTime<Utc>,
}

/// What is to be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Make a key that is active from this moment on.
    pub make: Option<DateTime<Utc>>,
    /// Nobody needs these any more.
    pub drop: Vec<String>,
}

impl Rotation {
    /// What is to be done now with these keys, in any order.
    pub fn plan(&self, keys: &[KeyTimes], now: DateTime<Utc>) -> Plan {
        let Some(newest) = keys.iter().map(|k| k.active_from).max() else {
            // The very first key: nobody could have known it before.
            return Plan { make: Some(now), drop: Vec::new() };
        };
        let due = newest + self.rotate_after;
        let make = (now + self.publish_before >= due).then(|| due.max(now + self.publish_before));
        let keep = self.token_age + LINGER;
        let drop = keys
            .iter()
            // A key ends when the next one begins.
            .filter(|k| keys.iter().any(|next| next.active_from > k.active_from && next.active_from + keep <= now))
            .map(|k| k.kid.clone())
            .collect();
        Plan { make, drop }
    }

    /// The position of the key that signs now.
    pub fn signer(keys: &[KeyTimes], now: DateTime<Utc>) -> Option<usize> {
        let begun = keys.iter().enumerate().filter(|(_, k)| k.active_from <= now);
        begun.max_by_key(|(_, k)| k.active_from).map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROTATION: Rotation = Rotation {
        rotate_after: Duration::from_secs(30 * 86_400),
        publish_before: Duration::from_secs(3600),
        token_age: Duration::from_secs(900),
    };

    proptest! {
        /// Replicas look at random moments over a year, some long apart. Whenever somebody signs, everybody who reads
        /// the published keys at least every `publish_before` can verify, until the token has ended.
        #[test]
        fn whoever_signs_can_be_verified(pauses in proptest::collection::vec(1u64..200_000, 1..400)) {
            let mut now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
            let mut keys: Vec<(KeyTimes, DateTime<Utc>)> = Vec::new();
            let mut signed: Vec<(String, DateTime<Utc>)> = Vec::new();
            for (n, pause) in pauses.into_iter().enumerate() {
                let times: Vec<_> = keys.iter().map(|(k, _)| k.clone()).collect();
                let plan = ROTATION.plan(&times, now);
                keys.retain(|(k, _)| !plan.drop.contains(&k.kid));
                if let Some(active_from) = plan.make {
                    if n > 0 {
                        prop_assert!(active_from >= now + ROTATION.publish_before, "published before it signs");
                    }
                    keys.push((KeyTimes { kid: n.to_string(), active_from }, now));
                }
                let times: Vec<_> = keys.iter().map(|(k, _)| k.clone()).collect();
                let signer = Rotation::signer(&times, now);
                prop_assert!(signer.is_some(), "somebody always signs");
                signed.push((times[signer.unwrap()].kid.clone(), now));
                for (kid, at) in &signed {
                    if *at + ROTATION.token_age > now {
                        prop_assert!(times.iter().any(|k| k.kid == *kid), "a living token's key is published");
                    }
                }
                prop_assert!(keys.len() <= 3, "old keys go: {}", keys.len());
                now += Duration::from_secs(pause);
            }
        }
    }

    #[test]
    fn a_second_look_changes_nothing() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let plan = ROTATION.plan(&[], now);
        let keys = vec![KeyTimes { kid: "a".to_owned(), active_from: plan.make.unwrap() }];
        assert_eq!(ROTATION.plan(&keys, now), Plan::default());
        let later = now + Duration::from_secs(30 * 86_400);
        let next = ROTATION.plan(&keys, later).make.unwrap();
        let both = vec![keys[0].clone(), KeyTimes { kid: "b".to_owned(), active_from: next }];
        assert_eq!(ROTATION.plan(&both, later), Plan::default());
        assert_eq!(Rotation::signer(&both, later), Some(0));
        assert_eq!(Rotation::signer(&both, next), Some(1));
    }
}
