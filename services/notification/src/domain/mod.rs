//! What is told to whom, in which words, and what happens when telling fails: pure, without clock or I/O.

use kit::define_id;
use tourmesh_kit as kit;

pub mod bounce;
pub mod facts;
pub mod locale;
pub mod message;
pub mod net;
pub mod quiet;
pub mod retry;
pub mod webhook;

define_id!(
    /// A message to one person.
    DeliveryId,
    "dlv"
);
define_id!(
    /// A booking, as Booking names it.
    BookingId,
    "bkg"
);
define_id!(
    /// A person, as Identity names it.
    UserId,
    "usr"
);
define_id!(
    /// A payment, as Payment names it.
    PaymentId,
    "pay"
);
define_id!(
    /// Where a program is told.
    EndpointId,
    "whe"
);
define_id!(
    /// A message to a program.
    MessageId,
    "msg"
);
define_id!(
    /// A supplier, as the catalog names it.
    SupplierId,
    "sup"
);
