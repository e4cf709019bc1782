//! What the booking service proves, on the real engines.
