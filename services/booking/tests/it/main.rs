//! Booking against a real PostgreSQL and a real NATS; the catalog and Payment are scripted by small servers in the test.
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod cancellation;
mod changes;
mod checkin;
mod guests;
mod holds;
mod invariants;
mod moves;
mod overload;
mod payments;
mod peers;
mod pools;
mod promises;
mod promos;
mod reading;
mod rescheduling;
mod rush;
mod scene;
mod taxes;
mod tour_waiting;
mod upgrade;
mod waiting;
mod waiting_promos;
