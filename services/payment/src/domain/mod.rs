//! What a payment is and how it moves, without wire, database, clock or chance. Start at [`payment::Payment::learn`].

pub mod dispute;
pub mod ledger;
pub mod payment;

use tourmesh_kit::define_id;

define_id!(
    /// A payment; also the idempotency key of its charge at the provider.
    PaymentId,
    "pay"
);
define_id!(
    /// A refund; also its idempotency key at the provider.
    RefundId,
    "ref"
);
define_id!(
    /// A charge that a customer disputes.
    DisputeId,
    "dsp"
);
define_id!(
    /// A transaction of the ledger.
    TransactionId,
    "txn"
);
define_id!(
    /// The booking that is paid for.
    BookingId,
    "bkg"
);
define_id!(
    /// Who pays.
    CustomerId,
    "usr"
);
define_id!(
    /// Who earns.
    SupplierId,
    "sup"
);
