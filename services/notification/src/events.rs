//! What is published: that messages were sent, given up or came back. What is consumed is in [`crate::intake`].

use kit::{ApiResult, events::Event};
use tourmesh::notification::v1::{DeliveryFailed, DeliverySent};
use tourmesh_kit as kit;

use crate::{convert, domain::message::State, store::delivery};

/// What is told about a delivery whose life has ended; `None` while it goes on.
///
/// # Errors
/// When the row holds what this version does not know.
pub fn ended(row: &delivery::Model) -> ApiResult<Option<Event>> {
    let delivery = Some(convert::delivery_to_wire(row)?);
    let id = row.delivery_id();
    Ok(match row.state()? {
        State::Sent => Some(Event::new(format!("notification.delivery.sent.{id}"), &DeliverySent { delivery })),
        State::Failed | State::Bounced => {
            Some(Event::new(format!("notification.delivery.failed.{id}"), &DeliveryFailed { delivery }))
        }
        State::Pending | State::Suppressed => None,
    })
}
