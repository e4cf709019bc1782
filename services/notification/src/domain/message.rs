//! Kinds of messages, channels, languages, states, and who wants what.

use chrono::NaiveTime;
use chrono_tz::Tz;

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
        /// A booking was confirmed; carries the vouchers, and is the receipt of what was paid.
        BookingConfirmed = "BOOKING_CONFIRMED",
        /// A sold booking was cancelled by a person.
        BookingCancelled = "BOOKING_CANCELLED",
        /// A payment failed.
        PaymentFailed = "PAYMENT_FAILED",
        /// Guests of a sold booking left, or names or the contact changed.
        BookingChanged = "BOOKING_CHANGED",
        /// A sold booking was moved to another departure.
        BookingRescheduled = "BOOKING_RESCHEDULED",
        /// The departure was called off, and the booking with it.
        DepartureCancelled = "DEPARTURE_CANCELLED",
        /// The departure starts at another time, or takes longer or shorter.
        DepartureChanged = "DEPARTURE_CHANGED",
        /// Seats are held for somebody who waited.
        WaitingListOffer = "WAITING_LIST_OFFER",
        /// What was paid, with its taxes, where no confirmation tells it.
        Receipt = "RECEIPT",
        /// The tour starts soon.
        DepartureReminder = "DEPARTURE_REMINDER",
        /// A webhook endpoint was switched off because it never answered.
        WebhookDisabled = "WEBHOOK_DISABLED",
    }
}

texts! {
    /// How a message travels.
    Channel {
        /// E-mail.
        Email = "EMAIL",
        /// A text message to a telephone.
        Sms = "SMS",
        /// A notification of the browser.
        Push = "PUSH",
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
        /// Handed over, and came back.
        Bounced = "BOUNCED",
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

impl Language {
    /// In which order texts are looked for: the language itself, then English.
    pub const fn order(self) -> &'static [Self] {
        match self {
            Self::En => &[Self::En],
            Self::Fr => &[Self::Fr, Self::En],
        }
    }
}

impl Kind {
    /// It is sent whatever the person prefers: it carries vouchers, or says that they are void or for another day.
    pub const fn is_mandatory(self) -> bool {
        matches!(
            self,
            Self::BookingConfirmed
                | Self::BookingCancelled
                | Self::BookingChanged
                | Self::BookingRescheduled
                | Self::DepartureCancelled
                | Self::DepartureChanged
                | Self::WebhookDisabled
        )
    }

    /// Whoever gets it late may stand before a closed door or lose the seats: quiet hours do not hold it back, and it
    /// overtakes what is not.
    pub const fn is_urgent(self) -> bool {
        !matches!(self, Self::Receipt | Self::DepartureReminder | Self::WebhookDisabled)
    }

    /// The lower the sooner.
    pub const fn priority(self) -> i16 {
        match self {
            Self::DepartureCancelled | Self::DepartureChanged | Self::WaitingListOffer | Self::PaymentFailed => 0,
            Self::DepartureReminder => 3,
            Self::Receipt | Self::WebhookDisabled => 2,
            _ => 1,
        }
    }

    /// It says that something is over: reminders of it must not follow.
    pub const fn ends_the_booking(self) -> bool {
        matches!(self, Self::BookingCancelled | Self::DepartureCancelled)
    }

    /// Short enough and important enough for a telephone.
    pub const fn fits_a_telephone(self) -> bool {
        !matches!(self, Self::Receipt | Self::WebhookDisabled)
    }

    /// It carries the ticket: vouchers as QR codes, and a PDF.
    pub const fn carries_ticket(self) -> bool {
        matches!(
            self,
            Self::BookingConfirmed
                | Self::BookingChanged
                | Self::BookingRescheduled
                | Self::DepartureChanged
                | Self::DepartureReminder
        )
    }

    /// It carries the event for the calendar.
    pub const fn carries_calendar(self) -> bool {
        self.ends_the_booking() || (self.carries_ticket() && !matches!(self, Self::DepartureReminder))
    }
}

/// When a person wants to be left alone, in its own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// From this time of day.
    pub from: NaiveTime,
    /// Until this one; earlier than `from`: on the next day.
    pub until: NaiveTime,
}

/// How a person wants to be told. The default: everything by e-mail, in the language of the booking, at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `None`: the language of the booking.
    pub language: Option<Language>,
    /// What is not wanted on any channel.
    pub muted: Vec<Kind>,
    /// What is not wanted on one channel.
    pub muted_on: Vec<(Channel, Kind)>,
    /// Where text messages go, `+33612345678`; `None`: nowhere.
    pub phone: Option<String>,
    /// The person's own time zone; `None`: that of the tour.
    pub time_zone: Option<Tz>,
    /// `None`: never quiet.
    pub quiet: Option<QuietHours>,
}

impl Preferences {
    /// A message of this kind is to be sent on this channel. What must be sent is sent by e-mail.
    pub fn want(&self, channel: Channel, kind: Kind) -> bool {
        let wanted = !self.muted.contains(&kind) && !self.muted_on.contains(&(channel, kind));
        match channel {
            Channel::Email => kind.is_mandatory() || wanted,
            Channel::Sms | Channel::Push => kind.fits_a_telephone() && wanted,
        }
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
        let all = Preferences { muted: Kind::ALL.to_vec(), ..Preferences::default() };
        for kind in Kind::ALL {
            assert_eq!(all.want(Channel::Email, *kind), kind.is_mandatory(), "{kind:?}");
            assert!(!all.want(Channel::Sms, *kind), "a telephone is never obligatory: {kind:?}");
        }
        assert!(Preferences::default().want(Channel::Email, Kind::PaymentFailed));
        assert!(!Preferences::default().want(Channel::Sms, Kind::Receipt));
    }

    #[test]
    fn a_kind_can_be_muted_on_one_channel_alone() {
        let one = Preferences {
            muted_on: vec![(Channel::Sms, Kind::DepartureReminder), (Channel::Email, Kind::Receipt)],
            ..Preferences::default()
        };
        assert!(!one.want(Channel::Sms, Kind::DepartureReminder) && one.want(Channel::Email, Kind::DepartureReminder));
        assert!(!one.want(Channel::Email, Kind::Receipt));
    }

    #[test]
    fn a_persons_language_wins_over_the_bookings() {
        let french = Preferences { language: Some(Language::Fr), ..Preferences::default() };
        assert_eq!(french.language_or(Language::En), Language::Fr);
        assert_eq!(Preferences::default().language_or(Language::Fr), Language::Fr);
    }

    #[test]
    fn every_order_of_languages_ends_with_english_and_begins_with_itself() {
        for language in Language::ALL {
            assert_eq!((language.order().first(), language.order().last()), (Some(language), Some(&Language::En)));
        }
    }
}
