//! How fast one notification replica writes and hands over confirmations: from a backlog of events to the acceptance of
//! a mail server on this machine that takes everything. Each e-mail has its words in two forms, the receipt among them, QR
//! codes, a PDF ticket and a calendar entry.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use serde_json::json;
use tourmesh::{
    booking::v1::{Booking, BookingConfirmed, BookingState, Contact, UnitItem},
    common::v1::{LocalizedText, UnitType},
    google::r#type::Money,
};
use tourmesh_kit::{
    config::Env,
    events::{Broker, Event, relay::publish_one},
    shutdown::Shutdown,
};

use super::{Bench, sink::Sink};
use crate::{
    mesh::{RoleSockets, run_roles},
    platform::Platform,
    roles::Role,
};

/// How many e-mails of a backlog make a second of measuring.
const A_SECOND: u64 = 1_000;

/// Measures and tells.
pub async fn run(bench: &Bench, bar: &ProgressBar) -> anyhow::Result<String> {
    let count = A_SECOND * bench.seconds;
    let sink = Sink::start().await?;
    let senders = bench.clients.unwrap_or(16).min(64).to_string();
    let more = [
        ("TOURMESH_NOTIFICATION_MAIL_TRANSPORT", "smtp"),
        ("TOURMESH_NOTIFICATION_SMTP_URL", sink.url()),
        ("TOURMESH_NOTIFICATION_SENDERS", senders.as_str()),
    ];
    let platform = Platform::ephemeral(bar).await?.with(more);
    let outcome = measure(&platform, count, &sink, bar).await;
    platform.stop().await?;
    let lasted = outcome?;
    let rate = count as f64 / lasted.as_secs_f64();
    let bytes = sink.bytes() / count.max(1);
    if bench.json {
        let told = json!({
            "bench": "mail", "messages": count, "seconds": lasted.as_secs_f64(), "per_second": rate,
            "bytes_each": bytes, "senders": senders,
        });
        return Ok(format!("{told}\n"));
    }
    Ok(format!(
        "mail: {count} confirmations of {bytes} bytes each, from a backlog of events to SMTP acceptance by one replica with \
         {senders} connections: {:.1} s, {rate:.0} a second\n",
        lasted.as_secs_f64()
    ))
}

async fn measure(platform: &Platform, count: u64, sink: &Sink, bar: &ProgressBar) -> anyhow::Result<Duration> {
    let env = Env::of("notification", platform.environment(&BTreeMap::new()));
    // Once before, so that its consumer is there and nothing of the start is measured.
    serve(&env, async { tokio::time::sleep(Duration::from_secs(2)).await }).await?;
    let broker = Broker::of_env(&env).await?;
    for from in (0..count).step_by(500) {
        bar.set_message(format!("publishing: {from} of {count} confirmations"));
        let events: Vec<Event> = (from..count.min(from + 500)).map(confirmed).collect();
        try_join_all(events.iter().map(|event| publish_one(&broker, "booking", event))).await?;
    }
    bar.set_message(format!("{count} e-mails"));
    let mut lasted = None;
    serve(&env, async {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60 + count / 20) {
            if sink.messages() >= count {
                lasted = Some(begun.elapsed());
                // Whoever sends twice has time to do it.
                tokio::time::sleep(Duration::from_secs(1)).await;
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await?;
    let lasted = lasted.context("the e-mails did not arrive in time")?;
    let arrived = sink.messages();
    ensure!(arrived == count, "{arrived} e-mails arrived instead of {count}");
    Ok(lasted)
}

/// Runs the role as long as the work takes.
async fn serve(env: &Env, work: impl Future<Output = ()>) -> anyhow::Result<()> {
    let sockets = RoleSockets::bind(Role::Notification, "127.0.0.1:0", "127.0.0.1:0").await?;
    let shutdown = Shutdown::new();
    let stop = shutdown.clone();
    let role = vec![(Role::Notification, env.clone(), sockets)];
    let running = tokio::spawn(async move { run_roles(role, &stop).await });
    work.await;
    shutdown.trigger();
    running.await?
}

/// Two adults on New Year's morning in Paris.
fn confirmed(number: u64) -> Event {
    let id = format!("bkg_{}", uuid::Uuid::now_v7().simple());
    let price = Money { currency_code: "EUR".to_owned(), units: 49, nanos: 500_000_000 };
    let item = |n: u64| UnitItem {
        id: format!("itm_{:032x}", number * 2 + n),
        unit: UnitType::Adult.into(),
        price: Some(price.clone()),
        voucher_code: format!("{:026}", number * 2 + n),
        ..UnitItem::default()
    };
    let language = if number.is_multiple_of(2) { "en" } else { "fr" };
    let booking = Booking {
        id: id.clone(),
        customer_id: format!("usr_{}", uuid::Uuid::now_v7().simple()),
        state: BookingState::Confirmed.into(),
        contact: Some(Contact {
            full_name: "Amélie Durand".to_owned(),
            email: format!("guest{number}@example.com"),
            language: language.to_owned(),
        }),
        items: vec![item(0), item(1)],
        seats: 2,
        total: Some(Money { currency_code: "EUR".to_owned(), units: 99, nanos: 0 }),
        // Paid for, so that each is a receipt, too, as nearly all are.
        paid: Some(Money { currency_code: "EUR".to_owned(), units: 99, nanos: 0 }),
        payment_id: format!("pay_{}", uuid::Uuid::now_v7().simple()),
        tour_title: Some(LocalizedText { en: "Banks of the Seine".to_owned(), fr: "Rives de la Seine".to_owned() }),
        option_title: Some(LocalizedText { en: "Small group".to_owned(), fr: "Petit groupe".to_owned() }),
        local_start: "2036-01-01T09:00".to_owned(),
        time_zone: "Europe/Paris".to_owned(),
        starts_at: Some(prost_types::Timestamp { seconds: 2_082_787_200, nanos: 0 }),
        duration_minutes: 150,
        version: 2,
        confirmed_at: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
        ..Booking::default()
    };
    Event::new(format!("booking.booking.confirmed.{id}"), &BookingConfirmed { booking: Some(booking) })
}
