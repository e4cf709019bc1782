//! Thin handlers: who asks, which use case, the answer. Access and field rules have held before they run.

mod admin;
mod read;
