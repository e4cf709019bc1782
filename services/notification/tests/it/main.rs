//! What the notification service proves, on the real engines.
