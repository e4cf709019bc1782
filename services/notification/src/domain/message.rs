//! Kinds of messages, languages, states, and who wants what.

/// Defines an enum whose values have one text each, which is how the database keeps them.
macro_rules! texts {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $value:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $value),* }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];
            /// As the database has it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
            /// Reads what [`as_str`](Self::as_str) wrote.
            pub fn of_str(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text)
            }
        }
    };
}

texts! {
    /// What a message is about.
    Kind {
        /// A booking was confirmed; carries the vouchers.
        BookingConfirmed = "BOOKING_CONFIRMED",
        /// A sold booking was cancelled.
        BookingCancelled = "BOOKING_CANCELLED",
        /// A payment failed.
        PaymentFailed = "PAYMENT_FAILED",
    }
}

texts! {
    /// Where a delivery is in its life.
    State {
        /// Waits to be sent, or to be sent again.
        Pending = "PENDING",
        /// Handed over.
        Sent = "SENT",
        /// Given up.
        Failed = "FAILED",
        /// Not wanted.
        Suppressed = "SUPPRESSED",
    }
}

texts! {
    /// A language that messages are written in.
    Language {
        /// English, the fallback.
        En = "en",
        /// French.
        Fr = "fr",
    }
}

impl Kind {
    /// It is sent whatever the person prefers: it carries vouchers, or says that they are void.
    pub const fn is_mandatory(self) -> bool {
        matches!(self, Self::BookingConfirmed | Self::BookingCancelled)
    }
}

/// How a person wants to be told. The default: everything, in the language of the booking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `None`: the language of the booking.
    pub language: Option<Language>,
    /// What is not wanted.
    pub muted: Vec<Kind>,
}

impl Preferences {
    /// A message of this kind is to be sent.
    pub fn want(&self, kind: Kind) -> bool {
        kind.is_mandatory() || !self.muted.contains(&kind)
    }

    /// The language to write in: the person's, else the booking's.
    pub fn language_or(&self, of_booking: Language) -> Language {
        self.language.unwrap_or(of_booking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_sent_cannot_be_muted() {
        let all = Preferences { language: None, muted: Kind::ALL.to_vec() };
        assert!(all.want(Kind::BookingConfirmed) && all.want(Kind::BookingCancelled));
        assert!(!all.want(Kind::PaymentFailed));
        assert!(Preferences::default().want(Kind::PaymentFailed));
    }

    #[test]
    fn a_persons_language_wins_over_the_bookings() {
        let french = Preferences { language: Some(Language::Fr), muted: vec![] };
        assert_eq!(french.language_or(Language::En), Language::Fr);
        assert_eq!(Preferences::default().language_or(Language::Fr), Language::Fr);
    }
}
