//! What the identity service proves, on the real engines.
