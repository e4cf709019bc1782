//! Every write of Booking by its name. Nothing in this service is written but under one of these: what is not listed does
//! not compile under the lints of this crate, and the proof that goes through [`Step::ALL`] fails for a step that it
//! cannot bring about.

tourmesh_kit::define_steps!(
    /// The writes.
    Step {
        /// Seats are held, for a batch of wishes.
        Hold = "hold",
        /// The same where promo codes are used.
        HoldWithPromo = "hold with a promo code",
        /// A promo code is made.
        CreatePromo = "create a promo code",
        /// A promo code ends.
        EndPromo = "end a promo code",
        /// The time of holds starts anew.
        Extend = "extend a hold",
        /// Payments are numbered, for a batch of bookings; those that cost nothing are confirmed.
        Pay = "pay",
        /// Payments that were opened, and are not captured yet, are noted.
        NotePayment = "note a payment",
        /// Bookings are confirmed by payments that are captured when Payment answers.
        Confirm = "confirm",
        /// Captured payments confirm bookings and make moves, or go back; failed ones end moves.
        Payments = "booking-payments",
        /// Names and contact change.
        Update = "update",
        /// Guests are checked in.
        Redeem = "redeem",
        /// Bookings, or some of their guests, are cancelled.
        Cancel = "cancel",
        /// Bookings of a departure that was called off are cancelled.
        CallOff = "call off",
        /// Holds run out.
        Expire = "expire",
        /// A booking is moved, or a move begins that has to be paid for.
        Reschedule = "reschedule",
        /// A move is made by a payment that is captured when Payment answers.
        MakeMove = "make a move",
        /// The payment of a move is noted.
        NoteMove = "note a move",
        /// A move comes to nothing because it was not paid.
        FailMove = "fail a move",
        /// Moves run out.
        ExpireMoves = "expire moves",
        /// Refunds are taken on.
        LeaseRefunds = "lease refunds",
        /// Payment has taken a refund over.
        RefundAsked = "refund asked",
        /// Payment has not: it is tried again.
        RefundFailed = "refund failed",
        /// A party joins a waiting list.
        Join = "join",
        /// A party leaves it.
        Leave = "leave",
        /// Seats that nobody gave back are offered to who waits.
        PassOn = "pass on",
        /// What an offer would be is kept for who waits for a tour.
        KeepChance = "keep a chance",
        /// What the catalog offers is kept.
        KeepOffer = "keep an offer",
        /// What the catalog tells of departures is kept.
        Departures = "booking-departures",
    }
);
