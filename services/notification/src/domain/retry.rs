//! What happens when a message could not be handed over.

use std::time::Duration;

/// What kind of failure it was; the kind decides when it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered, or our own account was refused: the fault is not the message's, and goes away for all at once.
    Unreachable,
    /// The other side said "not now" (SMTP 4xx): grey-listing, a full mailbox, too many at once.
    Busy,
    /// The other side said "never" (SMTP 5xx), or the address is none.
    Permanent,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    Again(Duration),
    /// Give up and say so.
    GiveUp,
}

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The first pause after "not now"; it doubles each time.
    pub pause: Duration,
    /// How old a message may become before it is given up.
    pub give_up_after: Duration,
}

/// "Not now" is never waited out longer than this in one go.
const LONGEST_BUSY: Duration = Duration::from_secs(15 * 60);
/// A server that does not answer is asked again at least this often.
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(60);

impl Policy {
    /// Decides after the `attempt`-th try (1 for the first) of a message of this age. `jitter` is a random number from 0
    /// to 1000: pauses lie between half and whole, so that messages that failed together do not return together.
    pub fn verdict(&self, failure: Failure, attempt: u32, age: Duration, jitter: u32) -> Verdict {
        let (first, longest) = match failure {
            Failure::Permanent => return Verdict::GiveUp,
            Failure::Busy => (self.pause, LONGEST_BUSY),
            Failure::Unreachable => (self.pause / 10, LONGEST_UNREACHABLE),
        };
        if age >= self.give_up_after {
            return Verdict::GiveUp;
        }
        let whole = first.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(longest);
        let half = whole / 2;
        Verdict::Again(half + half * jitter.min(1000) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: Policy = Policy { pause: Duration::from_secs(5), give_up_after: Duration::from_secs(86_400) };

    #[test]
    fn never_means_never_and_old_messages_are_given_up() {
        assert_eq!(POLICY.verdict(Failure::Permanent, 1, Duration::ZERO, 0), Verdict::GiveUp);
        assert_eq!(POLICY.verdict(Failure::Busy, 9, Duration::from_secs(86_400), 0), Verdict::GiveUp);
        assert_eq!(POLICY.verdict(Failure::Unreachable, 9, Duration::from_secs(86_400), 0), Verdict::GiveUp);
    }

    proptest! {
        #[test]
        fn pauses_grow_lie_between_half_and_whole_and_stay_bounded(attempt in 1_u32..200, jitter in 0_u32..=1000) {
            for (failure, first, longest) in [
                (Failure::Busy, Duration::from_secs(5), LONGEST_BUSY),
                (Failure::Unreachable, Duration::from_millis(500), LONGEST_UNREACHABLE),
            ] {
                let Verdict::Again(wait) = POLICY.verdict(failure, attempt, Duration::ZERO, jitter) else {
                    return Err(TestCaseError::fail("given up"));
                };
                let whole = first.saturating_mul(1 << (attempt - 1).min(20)).min(longest);
                prop_assert!(wait >= whole / 2 && wait <= whole);
            }
        }
    }
}
