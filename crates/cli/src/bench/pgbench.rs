//! The comparison: PostgreSQL's own benchmark program, with the same writes as one hold, one at a time.
//!
//! It runs on the same server, in a database of its own that has Booking's very tables, indexes and checks, over as many
//! departures. One statement does what a hold writes: the guarded update of the seats, the booking, its guest, and the
//! event of the same size in the outbox. What a hold reads and decides besides (repeats, limits, prices, tokens) and what
//! happens to its event afterwards is left out, in favour of pgbench.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use prost::{Message as _, Name as _};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;
use tourmesh::booking::v1::{Booking, BookingHeld};
use tourmesh_engines::PostgresHandle;
use tourmesh_kit::config::Env;

use super::Bench;

/// Its database.
const DATABASE: &str = "tourmesh_bench";
/// With how many clients it is tried; the best counts.
const CLIENTS: [u16; 3] = [16, 32, 64];

/// What pgbench did.
pub struct Outcome {
    /// Transactions a second, by how many clients.
    pub tps_by_clients: Vec<(u16, f64)>,
}

/// Times it, for a third of the measurement with each number of clients, or five seconds.
pub async fn run(
    postgres: &PostgresHandle,
    bench: &Bench,
    sample: &Booking,
    bar: &ProgressBar,
) -> anyhow::Result<Outcome> {
    bar.set_message("making the database for pgbench");
    let departures = if bench.hot { 1 } else { bench.departures };
    prepare(postgres, departures).await?;
    let script = std::env::temp_dir().join(format!("tourmesh-bench-{}.sql", std::process::id()));
    tokio::fs::write(&script, statement(sample, departures)).await.context("cannot write the script for pgbench")?;
    let mut tps_by_clients = Vec::new();
    for clients in CLIENTS {
        checkpoint(postgres).await?;
        bar.set_message(format!("pgbench: {clients} clients"));
        let seconds = (bench.seconds / 3).max(5).to_string();
        let output = Command::new(postgres.bin_dir().join("pgbench"))
            .args(["--no-vacuum", "--protocol", "prepared", "--jobs", "2", "--time", &seconds])
            .args(["--client", &clients.to_string()])
            .arg("--file")
            .arg(&script)
            .args(["--host", &postgres.host, "--port", &postgres.port.to_string(), "--username", &postgres.superuser])
            .arg(DATABASE)
            .env("PGPASSWORD", &postgres.password)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("pgbench does not start")?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        tps_by_clients.push((clients, tps.with_context(|| format!("pgbench told no rate: {told}"))?));
    }
    tokio::fs::remove_file(&script).await.context("cannot remove the script for pgbench")?;
    Ok(Outcome { tps_by_clients })
}

/// What was written before is not written back during the next measurement.
pub async fn checkpoint(postgres: &PostgresHandle) -> anyhow::Result<()> {
    let mut superuser = PgConnection::connect(&postgres.url("postgres")).await?;
    superuser.execute("CHECKPOINT").await?;
    superuser.close().await?;
    Ok(())
}

async fn prepare(postgres: &PostgresHandle, departures: u32) -> anyhow::Result<()> {
    let mut superuser = PgConnection::connect(&postgres.url("postgres")).await?;
    superuser.execute("DROP DATABASE IF EXISTS tourmesh_bench").await?;
    superuser.execute("CREATE DATABASE tourmesh_bench").await?;
    superuser.close().await?;
    let url = postgres.url(DATABASE);
    let env = Env::of("booking", [("TOURMESH_BOOKING_DATABASE_URL".to_owned(), url.clone())]);
    tourmesh_booking::SCHEMA.migrate(&env).await?;
    let mut connection = PgConnection::connect(&url).await?;
    sqlx::query(
        "INSERT INTO departures (id, tour_id, option_id, supplier_id, starts_at, state, capacity_wanted, capacity, version)
         SELECT lpad(to_hex(n), 32, '0')::uuid, uuidv7(), uuidv7(), uuidv7(), now() + interval '30 days', 'OPEN',
                1000000000, 1000000000, 1
         FROM generate_series(1, $1) n",
    )
    .bind(i32::try_from(departures)?)
    .execute(&mut connection)
    .await?;
    connection.execute("VACUUM ANALYZE departures").await?;
    connection.close().await?;
    Ok(())
}

/// The writes of one hold as one statement.
fn statement(sample: &Booking, departures: u32) -> String {
    let event = BookingHeld { booking: Some(sample.clone()) };
    let payload: String = event.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r"\set departure random(1, {departures})
WITH seated AS (
    UPDATE departures SET held = held + 1
    WHERE id = lpad(to_hex(:departure::int), 32, '0')::uuid AND held + 1 <= capacity AND state = 'OPEN'
          AND starts_at > now()
    RETURNING id, supplier_id
), made AS (
    INSERT INTO bookings (id, customer_id, supplier_id, departure_id, terms_id, state, seats, currency, total,
                          pay_on_arrival, contact_name, contact_email, contact_language, request_id, request_hash,
                          created_at, hold_expires_at)
    SELECT uuidv7(), uuidv4(), supplier_id, id, '00000000-0000-7000-8000-000000000001', 'ON_HOLD', 1, 'EUR', 49,
           false, 'Bench Traveller', 'bench@tourmesh.example', 'en', replace(uuidv7()::text, '-', ''),
           decode('{hash}', 'hex'), now(), now() + interval '15 minutes'
    FROM seated
    ON CONFLICT (customer_id, request_id) DO NOTHING RETURNING id
), guests AS (
    INSERT INTO unit_items (booking_id, position, id, unit, seats, price) SELECT id, 0, uuidv7(), 1, 1, 49 FROM made
), told AS (
    INSERT INTO outbox (id, type, subject, payload, traceparent)
    SELECT uuidv7(), '{kind}', 'booking.booking.held.bkg_' || replace(id::text, '-', ''), decode('{payload}', 'hex'),
           '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    FROM made
)
SELECT count(*) FROM made;
",
        hash = "5a".repeat(32),
        kind = BookingHeld::full_name(),
    )
}
