//! A batch of holds in one statement: it looks, it decides whether all of the proposal still holds, and it writes all of it
//! or nothing. When it writes nothing it answers what it saw, for a better proposal.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection};
use tourmesh_kit::{ApiError, ApiResult, events::Event};
use uuid::Uuid;

use super::{
    bookings::{db_discount, db_taxes},
    corrupt, db_int,
    departures::seats_of,
    of_db_int,
    pools::shared,
};
use crate::domain::{
    BookingId, DepartureId, OptionId, PoolId, UserId,
    booking::Booking,
    hold::{Earlier, View, Wish},
    pool::{Room, Share, Slot},
};

/// A granted hold, ready to be written.
#[derive(Debug)]
pub(crate) struct Granted<'a> {
    pub(crate) booking: &'a Booking,
    pub(crate) request_id: &'a str,
    pub(crate) request_hash: &'a [u8; 32],
    pub(crate) event: &'a Event,
    /// How many open holds on departures of the option its customer may have; 0: the platform's limit counts.
    pub(crate) max_of_option: u32,
}

impl<'a> Granted<'a> {
    /// What it was before it was granted.
    pub(crate) fn wish(&self) -> Wish<'a> {
        Wish {
            customer: self.booking.customer,
            request_id: self.request_id,
            hash: self.request_hash,
            booking: self.booking.id,
            departure: self.booking.departure,
            seats: self.booking.seats,
            promo: self.booking.promo.as_ref().map(|promo| promo.id),
            option: self.booking.terms.option,
            max_of_option: self.max_of_option,
        }
    }
}

/// What became of a proposal.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    /// All of it is written. The database's clock showed this.
    Written(DateTime<Utc>),
    /// Nothing is written, because this is how things are.
    Seen(Box<View<'a>>),
}

/// The one row that the statement answers; the lists are there when nothing was written.
#[derive(FromRow)]
struct Answer {
    now: DateTime<Utc>,
    ok: bool,
    departures: Option<Vec<Uuid>>,
    capacities: Option<Vec<i32>>,
    held: Option<Vec<i32>>,
    states: Option<Vec<String>>,
    starts: Option<Vec<DateTime<Utc>>>,
    /// Some of the departures share pools.
    shared: Option<bool>,
    holders: Option<Vec<Uuid>>,
    open: Option<Vec<i64>>,
    #[sqlx(default)]
    limited_customers: Option<Vec<Uuid>>,
    #[sqlx(default)]
    limited_options: Option<Vec<Uuid>>,
    #[sqlx(default)]
    limited_open: Option<Vec<i64>>,
    #[sqlx(default)]
    share_departures: Option<Vec<Uuid>>,
    #[sqlx(default)]
    share_pools: Option<Vec<Uuid>>,
    /// Of each share: units, seats, first slot, and the one after the last.
    #[sqlx(default)]
    share_numbers: Option<Vec<i32>>,
    #[sqlx(default)]
    slot_pools: Option<Vec<Uuid>>,
    #[sqlx(default)]
    slot_numbers: Option<Vec<i32>>,
    #[sqlx(default)]
    slot_capacities: Option<Vec<i32>>,
    #[sqlx(default)]
    slot_held: Option<Vec<i32>>,
}

/// The statement. What begins it locks the departures; the rest of the parts are what sharing adds.
macro_rules! proposal {
    ($locked:expr, $fits:literal, $used:literal, $shares:literal, $whole:literal) => {
        concat!(
            $locked,
            ", holders AS MATERIALIZED (
             SELECT h.customer_id, h.more, o.open
             FROM unnest($3::uuid[], $4::int[]) h(customer_id, more), LATERAL (
                 SELECT count(*) AS open FROM bookings b WHERE b.state = 'ON_HOLD' AND b.customer_id = h.customer_id) o
         ), decided AS MATERIALIZED (
             SELECT (SELECT count(*) FROM locked WHERE seats > 0 AND held + seats <= capacity AND state = 'OPEN'
                            AND starts_at > $6) = (SELECT count(*) FROM unnest($2::int[]) s WHERE s > 0)
                AND NOT EXISTS (SELECT FROM unnest($8::uuid[], $19::text[]) w(customer_id, request_id),
                                LATERAL (SELECT FROM bookings b WHERE b.customer_id = w.customer_id
                                                                  AND b.request_id = w.request_id OFFSET 0) b)
                AND NOT EXISTS (SELECT FROM holders WHERE more > 0 AND open + more > $5)
                AND abs(extract(epoch FROM clock_timestamp() - $6)) < 1",
            $fits,
            " AS ok
         ), seated AS (
             -- From the locked row and not from d: this statement's snapshot may be older than the lock, and PostgreSQL
             -- checks the constraints of the row that it makes of the old one before it finds the new one.
             UPDATE departures d SET held = l.held + l.seats FROM locked l
             WHERE d.id = l.id AND l.seats > 0 AND (SELECT ok FROM decided) RETURNING 1
         )",
            $used,
            ", made AS (
             INSERT INTO bookings (id, customer_id, supplier_id, departure_id, terms_id, state, seats, currency, total,
                                   pay_on_arrival, contact_name, contact_email, contact_language, request_id,
                                   request_hash, created_at, hold_expires_at, promo_id)
             SELECT x.id, x.customer_id, x.supplier_id, x.departure_id, x.terms_id, 'ON_HOLD', x.seats, x.currency,
                    x.total, x.pay_on_arrival, x.contact_name, x.contact_email, x.contact_language, x.request_id,
                    x.request_hash, x.created_at, x.hold_expires_at, x.promo_id
             FROM unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::int[], $13::text[],
                         $14::numeric[], $15::bool[], $16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[],
                         $21::timestamptz[], $22::timestamptz[], $34::uuid[])
                  x(id, customer_id, supplier_id, departure_id, terms_id, seats, currency, total, pay_on_arrival,
                    contact_name, contact_email, contact_language, request_id, request_hash, created_at,
                    hold_expires_at, promo_id)
             WHERE (SELECT ok FROM decided)
         ), guests AS (
             INSERT INTO unit_items (booking_id, position, id, unit, seats, price, discount, taxes)
             SELECT x.booking_id, x.position, x.id, x.unit, x.seats, x.price, x.discount, x.taxes::numeric[]
             FROM unnest($23::uuid[], $24::smallint[], $25::uuid[], $26::smallint[], $27::smallint[], $28::numeric[],
                         $35::numeric[], $36::text[])
                  x(booking_id, position, id, unit, seats, price, discount, taxes)
             WHERE (SELECT ok FROM decided)
         ), told AS (
             INSERT INTO outbox (id, type, subject, payload, traceparent)
             SELECT * FROM unnest($29::uuid[], $30::text[], $31::text[], $32::bytea[], $33::text[])
             WHERE (SELECT ok FROM decided)
         )
         SELECT clock_timestamp() AS now, ok,
                d.departures, d.capacities, d.held, d.states, d.starts, d.shared,
                h.holders, h.open",
            $shares,
            "
         FROM decided
         LEFT JOIN LATERAL (
             SELECT array_agg(id) AS departures, array_agg(capacity) AS capacities, array_agg(held) AS held,
                    array_agg(state) AS states, array_agg(starts_at) AS starts,
                    bool_or(pool_ids IS NOT NULL) AS shared FROM locked) d ON NOT ok
         LEFT JOIN LATERAL (
             SELECT array_agg(customer_id) AS holders, array_agg(open) AS open FROM holders) h ON NOT ok
         -- With the departures locked this cannot be; if it is, the division undoes everything.
         WHERE 0 < 1 / (NOT ok OR (SELECT count(*) FROM seated) = (SELECT count(*) FROM unnest($2::int[]) s WHERE s > 0)",
            $whole,
            ")::int"
        )
    };
}

/// For departures that share nothing, of options without limits of their own; it refuses those that share.
const PLAIN: &str = proposal!(
    "WITH locked AS MATERIALIZED (
         SELECT d.id, d.capacity, d.held, d.state, d.starts_at, x.seats, d.pool_ids
         FROM unnest($1::uuid[], $2::int[]) x(id, seats) JOIN departures d ON d.id = x.id
         ORDER BY d.id FOR NO KEY UPDATE OF d)",
    " AND NOT EXISTS (SELECT FROM locked WHERE pool_ids IS NOT NULL)",
    "",
    "",
    ""
);

/// The same, with the slots of pools: as many units as the seats need must be free in each of them; and with the limits of
/// options.
const FULL: &str = proposal!(
    concat!(
        shared!(""),
        ", limited AS MATERIALIZED (
             SELECT h.customer_id, h.option_id, h.more, h.most, o.open
             FROM unnest($37::uuid[], $38::uuid[], $39::int[], $40::int[]) h(customer_id, option_id, more, most),
             LATERAL (SELECT count(*) AS open FROM bookings b JOIN departures d ON d.id = b.departure_id
                      WHERE b.state = 'ON_HOLD' AND b.customer_id = h.customer_id AND d.option_id = h.option_id) o)"
    ),
    // A slot that was made while this waited for a lock is not seen; the next proposal sees it.
    " AND NOT EXISTS (SELECT FROM slots WHERE held + more > capacity)
      AND NOT EXISTS (SELECT FROM limited WHERE more > 0 AND open + more > most)
      AND (SELECT count(*) FROM slots) = (SELECT count(*) FROM needs)",
    ", used AS (
         UPDATE pool_slots s SET held = l.held + l.more FROM slots l
         WHERE s.pool_id = l.pool_id AND s.slot = l.slot AND l.more > 0 AND (SELECT ok FROM decided) RETURNING 1)",
    ", (SELECT array_agg(customer_id ORDER BY customer_id, option_id) FROM limited WHERE NOT ok) AS limited_customers,
     (SELECT array_agg(option_id ORDER BY customer_id, option_id) FROM limited WHERE NOT ok) AS limited_options,
     (SELECT array_agg(open ORDER BY customer_id, option_id) FROM limited WHERE NOT ok) AS limited_open,
     (SELECT array_agg(l.id ORDER BY l.id, p.pool_id) FROM locked l, unnest(l.pool_ids) p(pool_id) WHERE NOT ok)
       AS share_departures,
     (SELECT array_agg(p.pool_id ORDER BY l.id, p.pool_id) FROM locked l, unnest(l.pool_ids) p(pool_id) WHERE NOT ok)
       AS share_pools,
     (SELECT array_agg(p.n ORDER BY l.id, p.pool_id, p.at) FROM locked l, LATERAL (
          SELECT i.pool_id, v.at, v.n FROM unnest(l.pool_ids, l.pool_units, l.pool_seats, l.pool_first, l.pool_until)
                                           i(pool_id, units, seats, first, until),
                 unnest(ARRAY[i.units, i.seats, i.first, i.until]) WITH ORDINALITY v(n, at)) p WHERE NOT ok)
       AS share_numbers,
     (SELECT array_agg(pool_id ORDER BY pool_id, slot) FROM slots WHERE NOT ok) AS slot_pools,
     (SELECT array_agg(slot ORDER BY pool_id, slot) FROM slots WHERE NOT ok) AS slot_numbers,
     (SELECT array_agg(capacity ORDER BY pool_id, slot) FROM slots WHERE NOT ok) AS slot_capacities,
     (SELECT array_agg(held ORDER BY pool_id, slot) FROM slots WHERE NOT ok) AS slot_held",
    " AND (SELECT count(*) FROM used) = (SELECT count(*) FROM needs WHERE more > 0)"
);

/// Writes all granted holds: seats, bookings, guests, events; or nothing, when one of them does not fit, was made before,
/// has a customer with too many holds, or was decided at another time than the database's `now` (by more than a second).
/// What it answers then covers all wishes, not the granted ones alone.
///
/// The departures are locked in id order before anything is decided, so what was seen free is free until it is taken. With
/// `shared` the slots of their pools are locked after them and taken with them; without it, departures that share pools are
/// refused, and the answer says that there are some.
/// A repeat that commits while this statement waits for a lock is not seen: granted once more it breaks the unique index and with it the
/// whole statement ([`ApiError::is_transaction_conflict`] is false then, [`met_a_repeat`] is true).
pub(crate) async fn propose<'a>(
    connection: &mut PgConnection,
    wishes: &[Wish<'a>],
    granted: &[Granted<'_>],
    max_open_holds: u32,
    now: DateTime<Utc>,
    shared: bool,
) -> ApiResult<Outcome<'a>> {
    let mut seats: BTreeMap<DepartureId, u32> = wishes.iter().map(|wish| (wish.departure, 0)).collect();
    let limits = Limits::of(wishes, granted);
    for hold in granted {
        *seats.entry(hold.booking.departure).or_default() += hold.booking.seats;
    }
    let departures: Vec<Uuid> = seats.keys().map(|id| id.uuid()).collect();
    let taken = seats.into_values().map(db_int).collect::<ApiResult<Vec<_>>>()?;
    let (mut of, mut positions, mut items, mut units, mut item_seats, mut prices) =
        (vec![], vec![], vec![], vec![], vec![], Vec::<Decimal>::new());
    for hold in granted {
        for (position, item) in (0_i16..).zip(&hold.booking.items) {
            of.push(hold.booking.id.uuid());
            positions.push(position);
            items.push(item.id.uuid());
            units.push(i16::try_from(item.unit.number()).map_err(ApiError::internal)?);
            item_seats.push(i16::try_from(item.seats).map_err(ApiError::internal)?);
            prices.push(item.price.amount());
        }
    }
    macro_rules! column {
        (|$hold:ident| $value:expr) => {
            granted.iter().map(|$hold| $value).collect::<Vec<_>>()
        };
    }
    // What nobody has is not sent: unnest fills up with NULL.
    let guests = || granted.iter().flat_map(|hold| &hold.booking.items);
    let discounts = some_or_none(guests().map(|item| db_discount(item.discount)));
    let taxes = some_or_none(guests().map(|item| db_taxes(&item.taxes)));
    let promos = some_or_none(granted.iter().map(|hold| hold.booking.promo.as_ref().map(|promo| promo.id.uuid())));
    let booked_seats = granted.iter().map(|h| db_int(h.booking.seats)).collect::<ApiResult<Vec<_>>>()?;
    let full = shared || !limits.options.is_empty();
    let statement = sqlx::query_as(if full { FULL } else { PLAIN })
        .bind(&departures)
        .bind(taken)
        .bind(limits.customers.keys().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(limits.customers.values().map(|one| one.more).collect::<Vec<_>>())
        .bind(i64::from(max_open_holds))
        .bind(now)
        .bind(column!(|h| h.booking.id.uuid()))
        .bind(column!(|h| h.booking.customer.uuid()))
        .bind(column!(|h| h.booking.terms.supplier.uuid()))
        .bind(column!(|h| h.booking.departure.uuid()))
        .bind(column!(|h| h.booking.terms.id))
        .bind(booked_seats)
        .bind(column!(|h| h.booking.total.currency().to_string()))
        .bind(column!(|h| h.booking.total.amount()))
        .bind(column!(|h| h.booking.pay_on_arrival))
        .bind(column!(|h| h.booking.contact.full_name.as_str()))
        .bind(column!(|h| h.booking.contact.email.as_str()))
        .bind(column!(|h| h.booking.contact.language.as_str()))
        .bind(column!(|h| h.request_id))
        .bind(column!(|h| &h.request_hash[..]))
        .bind(column!(|h| h.booking.created_at))
        .bind(column!(|h| h.booking.hold_expires_at))
        .bind(of)
        .bind(positions)
        .bind(items)
        .bind(units)
        .bind(item_seats)
        .bind(prices)
        .bind(column!(|h| h.event.id))
        .bind(column!(|h| h.event.kind.as_str()))
        .bind(column!(|h| h.event.subject.as_str()))
        .bind(column!(|h| h.event.payload.as_slice()))
        .bind(column!(|h| h.event.traceparent.as_deref()))
        .bind(promos)
        .bind(discounts)
        .bind(taxes);
    let statement = if full {
        let options = || limits.options.iter();
        statement
            .bind(options().map(|((customer, _), _)| customer.uuid()).collect::<Vec<_>>())
            .bind(options().map(|((_, option), _)| option.uuid()).collect::<Vec<_>>())
            .bind(options().map(|(_, one)| one.more).collect::<Vec<_>>())
            .bind(options().map(|(_, one)| db_int(one.most)).collect::<ApiResult<Vec<_>>>()?)
    } else {
        statement
    };
    let answer: Answer = statement.fetch_one(&mut *connection).await?;
    if answer.ok {
        return Ok(Outcome::Written(answer.now));
    }
    // Read after the locks were had: while the statement waited for them, a repeat may have taken the seats that are missing.
    let earlier = earlier(connection, wishes).await?;
    Ok(Outcome::Seen(Box::new(seen(answer, wishes.len(), earlier, max_open_holds)?)))
}

/// How many holds of the proposal count against which limit. A refusal by a limit depends on all holds before: so what
/// counts is how many holds there are of a customer up to the last one that the limit is for.
struct Limits {
    customers: BTreeMap<UserId, Count>,
    /// Of those options that have a limit of their own.
    options: BTreeMap<(UserId, OptionId), Count>,
}

#[derive(Default)]
struct Count {
    granted: i32,
    more: i32,
    most: u32,
}

impl Limits {
    fn of(wishes: &[Wish<'_>], granted: &[Granted<'_>]) -> Self {
        let mut customers: BTreeMap<UserId, Count> =
            wishes.iter().map(|wish| (wish.customer, Count::default())).collect();
        let mut options: BTreeMap<(UserId, OptionId), Count> = BTreeMap::new();
        for wish in wishes.iter().filter(|wish| wish.max_of_option > 0) {
            let one = options.entry((wish.customer, wish.option)).or_default();
            one.most = one.most.max(wish.max_of_option);
        }
        for hold in granted {
            let customer = customers.entry(hold.booking.customer).or_default();
            customer.granted += 1;
            if hold.max_of_option == 0 {
                customer.more = customer.granted;
            } else {
                options.entry((hold.booking.customer, hold.booking.terms.option)).or_default().more += 1;
            }
        }
        Self { customers, options }
    }
}

/// The column, or nothing of it when all of it is NULL.
fn some_or_none<T>(column: impl Iterator<Item = Option<T>>) -> Vec<Option<T>> {
    let column: Vec<Option<T>> = column.collect();
    if column.iter().any(Option::is_some) { column } else { Vec::new() }
}

/// The bookings that these requests made before, as far as they are committed. OFFSET: as in
/// [`requests::known`](super::requests::known).
pub(crate) async fn earlier<'a>(
    connection: &mut PgConnection,
    wishes: &[Wish<'a>],
) -> ApiResult<HashMap<(UserId, &'a str), Earlier>> {
    let known: Vec<(i64, Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT w.place, b.id, b.request_hash
         FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY w(customer_id, request_id, place)
         CROSS JOIN LATERAL (SELECT id, request_hash FROM bookings
                             WHERE customer_id = w.customer_id AND request_id = w.request_id OFFSET 0) b",
    )
    .bind(wishes.iter().map(|w| w.customer.uuid()).collect::<Vec<_>>())
    .bind(wishes.iter().map(|w| w.request_id).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let of_wish = |(place, booking, hash): (i64, Uuid, Vec<u8>)| {
        let wish = usize::try_from(place).ok().and_then(|place| wishes.get(place.checked_sub(1)?));
        let wish = wish.ok_or_else(|| corrupt("place of a wish"))?;
        let hash = hash.try_into().map_err(|_| corrupt("request hash"))?;
        Ok(((wish.customer, wish.request_id), Earlier { booking: BookingId::from_uuid(booking), hash }))
    };
    known.into_iter().map(of_wish).collect()
}

/// A statement was undone because a request of it was made at this very moment elsewhere.
pub(crate) fn met_a_repeat(error: &ApiError) -> bool {
    error.breaks_constraint("bookings_request")
}

fn seen<'a>(
    answer: Answer,
    wishes: usize,
    earlier: HashMap<(UserId, &'a str), Earlier>,
    max_open_holds: u32,
) -> ApiResult<View<'a>> {
    let room = room(&answer, wishes)?;
    let holders = answer.holders.unwrap_or_default().into_iter().zip(answer.open.unwrap_or_default());
    let open_holds = holders.map(|(id, open)| (UserId::from_uuid(id), u32::try_from(open).unwrap_or(u32::MAX)));
    let open_holds = open_holds.collect();
    let shared = answer.shared.unwrap_or_default();
    let whose =
        answer.limited_customers.unwrap_or_default().into_iter().zip(answer.limited_options.unwrap_or_default());
    let open_of_options = whose.zip(answer.limited_open.unwrap_or_default()).map(|((customer, option), open)| {
        let key = (UserId::from_uuid(customer), OptionId::from_uuid(option));
        (key, u32::try_from(open).unwrap_or(u32::MAX))
    });
    let open_of_options = open_of_options.collect();
    Ok(View {
        now: answer.now,
        room,
        shared,
        earlier,
        open_holds,
        open_of_options,
        max_open_holds,
        promos: HashMap::new(),
    })
}

fn room(answer: &Answer, wishes: usize) -> ApiResult<Room> {
    fn all<T>(column: &Option<Vec<T>>) -> &[T] {
        column.as_deref().unwrap_or_default()
    }
    let mut room = Room { departures: HashMap::with_capacity(wishes), ..Room::default() };
    let counts = all(&answer.capacities).iter().zip(all(&answer.held));
    let times = all(&answer.states).iter().zip(all(&answer.starts));
    for ((id, (capacity, held)), (state, starts_at)) in all(&answer.departures).iter().zip(counts).zip(times) {
        let (id, seats) = seats_of(*id, (*capacity, *held), state, *starts_at)?;
        room.departures.insert(id, seats);
    }
    let shares = all(&answer.share_departures).iter().zip(all(&answer.share_pools));
    for ((departure, pool), numbers) in shares.zip(all(&answer.share_numbers).chunks(4)) {
        let &[units, seats, first, until] = numbers else { return Err(corrupt("share of a pool")) };
        let pool = PoolId::from_uuid(*pool);
        let share = Share { pool, units: of_db_int(units)?, seats: of_db_int(seats)?, first, until };
        room.shares.entry(DepartureId::from_uuid(*departure)).or_default().push(share);
    }
    let counts = all(&answer.slot_capacities).iter().zip(all(&answer.slot_held));
    for ((pool, number), (capacity, held)) in all(&answer.slot_pools).iter().zip(all(&answer.slot_numbers)).zip(counts)
    {
        let slot = Slot { capacity: of_db_int(*capacity)?, held: of_db_int(*held)?.into() };
        room.slots.insert((PoolId::from_uuid(*pool), *number), slot);
    }
    Ok(room)
}
