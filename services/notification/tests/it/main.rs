//! Notification against a real PostgreSQL, a real NATS, real files, and a mail server that says what a test tells it to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]

mod api;
mod intake;
mod mailbox;
mod receipts;
mod reminders;
mod sending;
mod server;
mod sink;
mod smtp;
mod stopped;
mod story;
mod telephones;
mod told;
mod unsubscribing;
mod web;
mod webhooks;
