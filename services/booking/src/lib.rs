//! Booking: the seats of departures and the bookings that take them.
//!
//! It promises never to sell a seat twice and never to lose a paid booking: for every departure the held seats are the
//! seats of its ON_HOLD, CONFIRMED and REDEEMED bookings and of the moves to it that are being paid for, and never more
//! than its capacity; a booking is CONFIRMED when its payment is captured and not otherwise; money that is captured without a hold goes back by itself; and every
//! change of state tells exactly one event, in the transaction of the change.
//!
//! Start with [`serve`], which wires the rooms together. `domain` decides, without a database or a clock: `domain::hold`
//! who gets the seats, `domain::booking` what a booking may become. The rooms carry it out: `holds` (the hot path),
//! `admission` (who is let in when there is too much), `changes` (whatever a caller changes of a booking), `checkout`,
//! `notes` and `confirmation` (money in), `cancel` and `refunds` (money back), `expiry`, `waiting`, `promos`, `checkin`,
//! `reschedule`, `moves` (to a departure that costs more), `availability`; `offers` and `inventory` keep up with the
//! catalog. `store` holds the SQL, and the migration says in which order rows are locked.

mod access;
mod admission;
mod availability;
mod cancel;
mod changes;
mod checkin;
mod checkout;
pub mod config;
mod confirmation;
mod convert;
mod domain;
mod error;
mod events;
mod expiry;
mod grpc;
mod holds;
mod inventory;
mod moves;
mod notes;
mod offers;
mod promos;
mod refunds;
mod reschedule;
pub mod steps;
mod store;
mod vouchers;
mod waiting;

use tourmesh::{
    booking::v1::booking_service_server::BookingServiceServer,
    catalog::v1::catalog_service_client::CatalogServiceClient,
    payment::v1::payment_service_client::PaymentServiceClient,
};
use tourmesh_kit::{
    chassis::{Chassis, ServeError, Services},
    config::Env,
    db::{self, Schema, Step},
    server::Listeners,
    shutdown::Shutdown,
    voucher::VoucherKeys,
};

pub use config::SETTINGS;

/// The role's name.
pub const ROLE: &str = "booking";

/// The role's database.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { version: 100, name: "seats, bookings and refunds", sql: include_str!("../migrations/0100_booking.sql") },
        Step {
            version: 101,
            name: "guests who leave, and their names",
            sql: include_str!("../migrations/0101_guests.sql"),
        },
        Step { version: 102, name: "bookings that move", sql: include_str!("../migrations/0102_moves.sql") },
        Step { version: 103, name: "waiting lists", sql: include_str!("../migrations/0103_waiting.sql") },
        Step { version: 110, name: "taxes and discounts", sql: include_str!("../migrations/0110_taxes.sql") },
        Step { version: 111, name: "promo codes", sql: include_str!("../migrations/0111_promo_codes.sql") },
        Step { version: 120, name: "moves that are paid for", sql: include_str!("../migrations/0120_paid_moves.sql") },
        Step { version: 121, name: "waiting for a tour", sql: include_str!("../migrations/0121_tour_waiting.sql") },
        Step { version: 130, name: "resource pools", sql: include_str!("../migrations/0130_pools.sql") },
        Step { version: 140, name: "old requests", sql: include_str!("../migrations/0140_requests_age.sql") },
        Step {
            version: 141,
            name: "promo codes of those who wait",
            sql: include_str!("../migrations/0141_waiting_promos.sql"),
        },
        Step {
            version: 150,
            name: "room for updates",
            sql: include_str!("../migrations/0150_room_for_updates.sql"),
        },
    ],
    // Frozen is frozen, and nothing that was booked or owed is ever forgotten; old requests are.
    restrict: "REVOKE UPDATE, DELETE ON terms FROM {runtime};
               REVOKE DELETE ON departures, bookings, unit_items, refund_tasks, waiting, moves, promo_codes, promo_customers,
                                pools, option_pools, pool_slots FROM {runtime}",
};

/// Runs the role until shutdown.
///
/// # Errors
/// When a setting is missing or wrong, or the transport fails. A database or broker that does not answer is no error:
/// the role waits for it.
pub async fn serve(env: Env, listeners: Listeners, shutdown: Shutdown) -> Result<(), ServeError> {
    let config = config::Config::of_env(&env)?;
    let env = db::planned_by_index(&env)?;
    let chassis = Chassis::start(&env, shutdown).await?;
    let db = chassis.database()?;
    let broker = chassis.broker().await?;
    let catalog = CatalogServiceClient::new(chassis.peer("catalog")?);
    let payments = PaymentServiceClient::new(chassis.peer("payment")?);
    let offers = offers::Offers::new(&config, catalog, db.clone());
    let board = availability::Board::new(config.max_watchers);

    chassis.relay(&db, &broker, events::DOMAIN);
    chassis.consume(events::PAYMENTS, &db, &broker, confirmation::Payments);
    chassis.consume(events::DEPARTURES, &db, &broker, inventory::Departures);

    let stop = || chassis.shutdown();
    chassis.spawn("offers", offers.clone().listen(broker.clone(), stop()));
    chassis.spawn("expiry", expiry::run(db.clone(), board.clone(), config.expiry, stop()));
    chassis.spawn("moves", moves::run(db.clone(), board.clone(), config.expiry, stop()));
    chassis.spawn("refunds", refunds::run(db.clone(), payments.clone(), stop()));
    chassis.spawn("calling off", cancel::call_off(db.clone(), board.clone(), stop()));
    chassis.spawn("waiting", waiting::run(db.clone(), offers.clone(), board.clone(), stop()));
    chassis.spawn("board", board.clone().run(db.clone(), stop()));
    chassis.spawn("board news", board.clone().listen(broker, stop()));
    let checkouts = admission::Checkouts::new(&config);

    let holds = holds::lanes(&config, &db, board.clone());
    let codes = promos::Codes::new();
    let promo_holds = holds::lanes(&config, &db, board.clone());
    let changes = changes::Changes::start(&db, &board, config.hold_queue);
    let (shutdown, door) = (stop(), checkouts.clone());
    let vouchers = VoucherKeys::of_env(&env)?;
    let api = grpc::Api {
        config,
        db,
        offers,
        holds,
        promo_holds,
        codes,
        checkouts,
        changes,
        payments,
        board,
        vouchers,
        shutdown,
    };
    chassis.serve(Services::new().add(BookingServiceServer::new(api)).behind(door), listeners).await
}
