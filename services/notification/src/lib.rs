//! Notification tells people what happened to their bookings: each thing once, in their language, the way they prefer.
//!
//! It promises that a message is kept in the transaction that takes the event in (one per person and thing told,
//! whatever is repeated), that it is handed over once however many replicas run and whichever of them dies, and that what
//! cannot be handed over is tried again until it is given up with a reason that staff can see. The one gap is told in
//! [`mail`].
//!
//! Start with [`intake`], where events become deliveries; [`sender`] hands them over, each by a [`courier`];
//! [`templates`] holds the words and [`ticket`] what goes with them.

pub mod config;
pub mod convert;
pub mod courier;
pub mod domain;
pub mod error;
pub mod events;
pub mod gate;
pub mod grpc;
pub mod intake;
pub mod links;
pub mod mail;
pub mod measure;
pub mod out;
pub mod preview;
pub mod push;
pub mod reminders;
pub mod sender;
pub mod sms;
pub mod steps;
pub mod store;
pub mod templates;
pub mod ticket;
pub mod webhooks;

use std::{sync::Arc, time::Duration};

use kit::{
    chassis::{Chassis, ServeError, Services},
    config::{Env, Setting},
    db::{self, Db, Schema, Step},
    server::Listeners,
    shutdown::Shutdown,
};
use tourmesh::notification::v1::{
    notification_service_server::NotificationServiceServer, webhook_service_server::WebhookServiceServer,
};
use tourmesh_kit as kit;

use crate::{
    config::Config,
    courier::{Courier, Desk, Way},
    grpc::Api,
    intake::{BOOKINGS, DEPARTURES, Doors, Intake, OfBookings, OfDepartures},
    measure::Measure,
    sender::{Entrance, Sender},
    webhooks::{Caller, HAPPENINGS, Listening, api::Hooks},
};

/// The role's name.
pub const ROLE: &str = "notification";

/// The role's settings.
pub const SETTINGS: &[Setting] = config::SETTINGS;

/// The role's database. Nobody deletes a delivery: it is the record of what was told.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { version: 100, name: "notification", sql: include_str!("../migrations/0100_notification.sql") },
        Step { version: 101, name: "requests age", sql: include_str!("../migrations/0101_requests_age.sql") },
        Step { version: 102, name: "channels", sql: include_str!("../migrations/0102_channels.sql") },
        Step { version: 103, name: "webhooks", sql: include_str!("../migrations/0103_webhooks.sql") },
        Step { version: 104, name: "answers of repeats", sql: include_str!("../migrations/0104_request_detail.sql") },
        Step { version: 105, name: "known bookings", sql: include_str!("../migrations/0105_known_bookings.sql") },
        Step { version: 106, name: "sealed secrets", sql: include_str!("../migrations/0106_sealed_secrets.sql") },
        Step {
            version: 107,
            name: "reminders that wait",
            sql: include_str!("../migrations/0107_reminders_waiting.sql"),
        },
    ],
    restrict: "REVOKE DELETE ON deliveries, preferences FROM {runtime};",
};

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is missing or wrong, or the server fails.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let env = db::planned_by_index(&env)?;
    let config = Arc::new(Config::of_env(&env)?);
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    chassis.relay(&db, &broker, ROLE);
    let intake = Intake { remind_before: config.remind_before, sms: config.sms.is_some(), push: config.push.is_some() };
    let doors = Doors::new(send(&chassis, &db, &config));
    chassis.consume(BOOKINGS, &db, &broker, OfBookings { intake, doors });
    chassis.consume(DEPARTURES, &db, &broker, OfDepartures(intake));
    chassis.consume(HAPPENINGS, &db, &broker, Listening);
    chassis.spawn("reminders", reminders::run(db.clone(), intake, config.reminder_pause, chassis.shutdown()));
    chassis.spawn("forgetting", forget(db.clone(), chassis.shutdown()));
    let push_key = config.push.as_ref().map(|(_, push)| push.public_key()).unwrap_or_default();
    let guard = config.http.guard().clone();
    let keys = config.webhook_keys.clone();
    chassis.spawn("webhook secrets", keys.clone().keep_sealed(db.clone(), chassis.shutdown()));
    let hooks = Hooks { db: db.clone(), guard: guard.clone(), keys };
    let api = Api { db, links: config.links.clone(), push_key, guard };
    let services = Services::new().add(NotificationServiceServer::new(api)).add(WebhookServiceServer::new(hooks));
    chassis.serve(services, listeners).await
}

/// One sender for each channel that there is, and one for webhooks; the entrances of the channels.
fn send(chassis: &Chassis, db: &Db, config: &Config) -> Vec<Entrance> {
    let mut entrances = Vec::new();
    let measure = Measure::new(&chassis.metrics());
    let desk = Desk {
        db: db.clone(),
        links: config.links.clone(),
        vouchers: config.vouchers.clone(),
        send_timeout: config.mail.send_timeout,
    };
    if let config::Route::Smtp(smtp) = &config.route {
        chassis.spawn("mail connections", smtp.clone().tend(chassis.shutdown()));
    }
    let mail = Way::Mail { route: config.route.clone(), from: config.from.clone() };
    let sms = config.sms.clone().map(|(pace, sms)| ("sms sender", pace, Way::Sms(Arc::new(sms))));
    let push = config.push.clone().map(|(pace, push)| ("push sender", pace, Way::Push(push)));
    for (name, pace, way) in [Some(("mail sender", config.mail, mail)), sms, push].into_iter().flatten() {
        let courier = Arc::new(Courier::new(desk.clone(), way));
        let sender = Sender { db: db.clone(), pace, courier, measure: measure.clone() };
        let (entrance, sending) = sender.open(chassis.shutdown());
        entrances.push(entrance);
        chassis.spawn(name, sending);
    }
    let caller = Caller {
        db: db.clone(),
        http: config.http.clone(),
        keys: config.webhook_keys.clone(),
        pauses: config.webhook_pauses.clone(),
        disable_after: config.webhook_disable,
    };
    chassis.spawn("webhook sender", caller.run(chassis.shutdown()));
    entrances
}

/// Drops what is known about bookings that are long over, and old webhook messages.
async fn forget(db: Db, shutdown: Shutdown) {
    while shutdown.sleep(Duration::from_secs(3600)).await {
        while let Ok(true) = store::bookings::forget_past(db.pool()).await {
            if !shutdown.sleep(Duration::from_millis(100)).await {
                return;
            }
        }
        while let Ok(true) = store::webhook_messages::forget_old(db.pool()).await {
            if !shutdown.sleep(Duration::from_millis(100)).await {
                return;
            }
        }
    }
}
