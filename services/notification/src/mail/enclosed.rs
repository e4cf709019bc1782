//! What an e-mail carries beside its words.

use chrono::{DateTime, Utc};
use kit::voucher::VoucherKeys;
use tourmesh_kit as kit;

use crate::{
    domain::{
        BookingId,
        facts::{BookingFacts, Item},
        message::{Kind, Language},
    },
    templates::{QR_SHOWN, qr_id},
    ticket::{
        TicketError, calendar,
        pdf::{self, GUESTS_MOST, Voucher},
        qr::Qr,
    },
};

/// Pictures for the HTML, and attachments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enclosed {
    /// PNGs by content id.
    pub pictures: Vec<(String, Vec<u8>)>,
    /// iCalendar.
    pub calendar: Option<String>,
    /// PDF.
    pub ticket: Option<Vec<u8>>,
}

impl Enclosed {
    /// What a message of this kind carries.
    ///
    /// # Errors
    /// A defect of ours.
    pub fn of(
        kind: Kind,
        language: Language,
        booking: BookingId,
        facts: Option<&BookingFacts>,
        keys: &VoucherKeys,
        domain: &str,
        made_at: DateTime<Utc>,
    ) -> Result<Self, TicketError> {
        let Some(facts) = facts else { return Ok(Self::default()) };
        let mut enclosed = Self::default();
        if kind.carries_calendar() {
            enclosed.calendar = calendar::event(booking, facts, language, domain, kind.ends_the_booking(), made_at);
        }
        let guests: Vec<&Item> = facts.items.iter().filter(|i| !i.voucher.is_empty()).collect();
        if kind.carries_ticket() && !guests.is_empty() {
            let mut vouchers = Vec::with_capacity(guests.len());
            for item in &guests {
                // What neither the ticket nor the e-mail shows as a picture needs none.
                if vouchers.len() <= GUESTS_MOST {
                    vouchers.push(Voucher { item, qr: Qr::of(&keys.token(&item.voucher))? });
                }
            }
            for (index, voucher) in vouchers.iter().take(QR_SHOWN).enumerate() {
                enclosed.pictures.push((qr_id(index), voucher.qr.png()?));
            }
            enclosed.ticket = Some(pdf::ticket(booking, facts, language, &vouchers)?);
        }
        Ok(enclosed)
    }
}
