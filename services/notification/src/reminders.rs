//! Reminders: a sold booking's is due some hours before its start. It goes out once for each start, also when the
//! booking is moved or changed, and never for one that was cancelled or checked in.

use std::{collections::HashMap, time::Duration};

use chrono::Utc;
use futures_util::FutureExt as _;
use kit::{ApiResult, db::Db, shutdown::Shutdown};
use sqlx::PgConnection;
use tourmesh_kit as kit;

use crate::{
    domain::{BookingId, UserId, facts::Detail, message::Kind},
    intake::{Intake, Known, News},
    store::{bookings, deliveries, preferences, push},
};

/// How many are taken at once.
const TOGETHER: i64 = 500;

/// Turns due reminders into deliveries until shutdown.
pub async fn run(db: Db, intake: Intake, pause: Duration, shutdown: Shutdown) {
    loop {
        #[expect(clippy::disallowed_methods, reason = "not on the way from a booking to its message")]
        let taken = db.write(move |tx| async move { due(tx, intake).await }.boxed()).await;
        let more = match taken {
            Ok(taken) => taken >= TOGETHER,
            Err(error) => {
                tracing::debug!(%error, "due reminders could not be read");
                false
            }
        };
        if !more && !shutdown.sleep(pause).await || shutdown.is_triggered() {
            return;
        }
    }
}

/// Makes the deliveries of what is due; how many bookings that were.
async fn due(tx: &mut PgConnection, intake: Intake) -> ApiResult<i64> {
    let due = bookings::due_reminders(tx, TOGETHER).await?;
    let count = i64::try_from(due.len()).unwrap_or(TOGETHER);
    let users: Vec<UserId> = due.iter().map(|b| UserId::from_uuid(b.user_id)).collect();
    let wishes = preferences::of_users(tx, &users).await?;
    let browsers = if intake.push { push::of_users(tx, &users).await? } else { HashMap::new() };
    let now = Utc::now();
    let mut new = Vec::new();
    // One that comes after the start, because everything stood still, helps nobody.
    for booking in due.into_iter().filter(|b| b.starts_at.is_some_and(|at| at > now)) {
        let (id, user) = (BookingId::from_uuid(booking.id), UserId::from_uuid(booking.user_id));
        let start = booking.starts_at.map_or(0, |at| at.timestamp());
        let news = News {
            kind: Kind::DepartureReminder,
            topic: format!("{id}:reminder:{start}"),
            event: None,
            user,
            booking: id,
            known: Known::of_stored(&booking.language, booking.email, booking.facts),
            detail: Detail::default(),
        };
        let wish = wishes.get(&user).cloned().unwrap_or_default();
        let browsers = browsers.get(&user).map(Vec::as_slice).unwrap_or_default();
        let mut messages = intake.messages(&news, &wish, browsers, now)?;
        for message in &mut messages {
            // Somebody who is left alone until after the start is better woken.
            message.not_before = message.not_before.filter(|at| booking.starts_at.is_some_and(|start| *at < start));
        }
        new.extend(messages);
    }
    deliveries::add(tx, &new).await?;
    Ok(count)
}
