//! What the payment service proves, on the real engines.
