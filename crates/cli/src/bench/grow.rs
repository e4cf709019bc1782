//! A catalog many times as large as the seed, made in the database: each tour again, some way off and at a similar price,
//! with all of its departures. Titles and descriptions keep their words, so a word that one tour has in the seed is had
//! by as many tours as there are copies: that is harder to search than as many places with names of their own.

use anyhow::Context as _;
use indicatif::ProgressBar;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tourmesh_kit::{config::Env, db::OWNER_DATABASE_URL};

/// The tours of the seed, so many times.
const COPIES: &str = "
    CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
    SELECT id AS base, n, md5(id::text || '/' || n)::uuid AS id,
           -- Up to a degree away, and from 90 to 110 % of the price: the same on every machine.
           (get_byte(luck, 0) - 127.5) / 128 AS north, (get_byte(luck, 1) - 127.5) / 128 AS east,
           90 + get_byte(luck, 2) % 21 AS percent
    FROM (SELECT t.id, n, decode(md5(t.id::text || ' ' || n), 'hex') AS luck
          FROM tours t, generate_series(1, $1) n WHERE t.state = 2 AND t.external_id NOT LIKE '%/%') seeded";

/// Their rows. Search rows last: each is written with the calendar of the departures that are there.
const ROWS: [&str; 4] = [
    "INSERT INTO tours (id, supplier_id, external_id, title_en, title_fr, description_en, description_fr, category,
                        latitude, longitude, country, time_zone, currency, state, created_at, updated_at)
     SELECT c.id, supplier_id, external_id || '/' || c.n, title_en || ' ' || c.n, title_fr || ' ' || c.n,
            description_en, description_fr, category, greatest(-90, least(90, latitude + c.north)),
            greatest(-180, least(180, longitude + c.east)), country, time_zone, currency, state, created_at, updated_at
     FROM copies c JOIN tours t ON t.id = c.base ON CONFLICT DO NOTHING",
    "INSERT INTO options (id, tour_id, title_en, title_fr, duration_minutes, currency, units, price_lists, refund_tiers,
                          min_party, max_party, hold_seconds, pay_on_arrival, created_at)
     SELECT md5(o.id::text || '/' || c.n)::uuid, c.id, title_en, title_fr, duration_minutes, currency, units,
            price_lists, refund_tiers, min_party, max_party, hold_seconds, pay_on_arrival, created_at
     FROM copies c JOIN options o ON o.tour_id = c.base ON CONFLICT DO NOTHING",
    "INSERT INTO departures (id, tour_id, option_id, supplier_id, local_start, time_zone, starts_at, duration_minutes,
                             capacity, state)
     SELECT md5(d.id::text || '/' || c.n)::uuid, c.id, md5(d.option_id::text || '/' || c.n)::uuid, supplier_id,
            local_start, time_zone, starts_at, duration_minutes, capacity, state
     FROM copies c JOIN departures d ON d.tour_id = c.base ON CONFLICT DO NOTHING",
    "INSERT INTO search (tour_id, category, country, latitude, longitude, currency, from_price, price_changes_on,
                         time_zone, title_en_key, title_fr_key, words, some_from, some_until, all_from, all_until)
     SELECT c.id, s.category, s.country, t.latitude, t.longitude, s.currency, round(s.from_price * c.percent / 100, 2),
            s.price_changes_on, s.time_zone, left(plain(t.title_en), 200), left(plain(t.title_fr), 200), s.words,
            some_from, some_until, all_from, all_until
     FROM copies c JOIN search s ON s.tour_id = c.base JOIN tours t ON t.id = c.id ON CONFLICT DO NOTHING",
];

/// What autovacuum would do by itself after a while.
const TIDY: [&str; 4] =
    ["VACUUM (ANALYZE) tours", "VACUUM (ANALYZE) options", "VACUUM (ANALYZE) search", "VACUUM (ANALYZE) departures"];

/// Makes at least so many departures of a seeded catalog; how many there are then. A catalog that has them stays as it is.
pub async fn grow(env: &Env, least: u32, bar: &ProgressBar) -> anyhow::Result<u64> {
    let url: Option<String> = env.for_role(tourmesh_catalog::ROLE).optional(&OWNER_DATABASE_URL)?;
    let url = url.context("only a catalog whose database's owner is known can grow")?;
    let mut owner = PgConnection::connect(&url).await?;
    let there = count(&mut owner).await?;
    if there > 0 && there < i64::from(least) {
        let copies = i32::try_from((i64::from(least) - 1) / there)?;
        bar.set_message(format!("{copies} more of each tour, for {least} departures"));
        let mut tx = owner.begin().await?;
        sqlx::query(COPIES).bind(copies).execute(&mut *tx).await?;
        for rows in ROWS {
            tx.execute(rows).await?;
        }
        tx.commit().await?;
    }
    bar.set_message("vacuuming the catalog");
    for tidy in TIDY {
        owner.execute(tidy).await?;
    }
    let there = count(&mut owner).await?;
    owner.close().await?;
    Ok(there.unsigned_abs())
}

async fn count(owner: &mut PgConnection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM departures").fetch_one(owner).await?)
}
