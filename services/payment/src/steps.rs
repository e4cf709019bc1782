//! Every write of Payment by its name. Nothing of this service's own is written but under one of these. The sandbox, which
//! stands for the other side of the wire, writes for itself; old ids of events are only deleted.

tourmesh_kit::define_steps!(
    /// The writes.
    Step {
        /// Payments are opened, for a batch of wishes.
        Open = "open",
        /// A wish is answered with the payment that is there already.
        AnswerKnown = "answer with a known payment",
        /// A capture is asked for.
        WantCapture = "want a capture",
        /// What a provider said is booked: states, ledger, events, for a batch of reports.
        Book = "book",
        /// Money is reserved for a refund.
        Reserve = "reserve a refund",
        /// Why a refund is not settled yet is noted.
        NoteProblem = "note a refund's problem",
        /// Open payments are taken on by the reconciler.
        TakePayments = "take open payments",
        /// Open refunds are taken on by the reconciler.
        TakeRefunds = "take open refunds",
    }
);
