//! What the chassis proves on the real engines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

mod dropped_calls;
mod events;
mod pruning;

use tourmesh_kit::db::{Schema, Step};

/// A table to write to.
const SCHEMA: Schema = Schema {
    steps: &[Step {
        version: 100,
        name: "notes",
        sql: "CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL)",
    }],
    restrict: "",
};
