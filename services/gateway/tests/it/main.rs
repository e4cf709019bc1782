//! What the gateway service proves, on the real engines.
