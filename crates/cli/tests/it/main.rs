//! What the whole mesh proves: as a process that is started, killed and traced, and as roles that are sent nonsense.

mod bad_input;
mod chaos;
mod process;
mod trace;
