//! The writes of Notification by their names, as far as a message's life goes: asked for, taken, told.

tourmesh_kit::define_steps!(
    /// The writes.
    Step {
        /// What happens to bookings becomes messages.
        Bookings = "notification-bookings",
        /// Due messages are taken to be sent.
        Take = "take messages",
        /// What became of them is written down.
        WriteDown = "write down",
        /// Preferences change.
        SetPreferences = "set preferences",
        /// A message is sent again.
        Resend = "resend",
    }
);
