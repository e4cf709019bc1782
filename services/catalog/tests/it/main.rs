//! The catalog against real PostgreSQL and NATS.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod calendar;
mod common;
mod pools;
mod ranked;
mod recurring;
mod searching;
mod seeding;
mod selling;
mod taxes;
mod writing;
