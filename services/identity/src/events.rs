//! What this role says has happened. It listens to nothing.

use kit::events::Event;
use tourmesh::identity::v1::UserRegistered;
use tourmesh_kit as kit;

use crate::{convert, domain::user::User};

/// Somebody signed up.
pub(crate) fn registered(user: &User) -> Event {
    let subject = format!("identity.user.registered.{}", user.id);
    Event::new(subject, &UserRegistered { user: Some(convert::user(user)) })
}
