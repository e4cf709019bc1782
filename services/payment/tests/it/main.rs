//! Payment against real engines: the provider contract, each means of payment, what must happen once, and the books.

#![allow(clippy::unwrap_used, reason = "a failing test says enough")]

mod access;
mod books;
mod contract;
mod crashes;
mod disputes;
mod events;
mod failed_refunds;
mod floods;
mod methods;
mod once;
mod payouts;
mod reconciliation;
mod refunds;
mod shop;
mod stripe;
mod timeouts;
