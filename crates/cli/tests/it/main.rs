//! What the whole mesh proves: as a process that is started, killed and traced, and as roles that are sent nonsense.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

mod bad_input;
mod chaos;
mod cut_off;
mod money;
mod pools;
mod process;
mod pruning;
mod repeats;
mod replay;
mod steps;
mod trace;
mod webhooks;
