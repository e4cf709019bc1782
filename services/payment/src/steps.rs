//! Every write of Payment by its name. Nothing of this service's own is written but under one of these. Not among them are
//! the sandbox, which stands for the other side of the wire and writes for itself, what the sandbox cannot bring about (a
//! refund that a provider refuses for good), and hints to the reconciler about when to look.

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
        /// Staff has a refund tried again that was given up.
        RetryRefund = "retry a refund",
        /// Open payments are taken on by the reconciler.
        TakePayments = "take open payments",
        /// Open refunds are taken on by the reconciler.
        TakeRefunds = "take open refunds",
    }
);
