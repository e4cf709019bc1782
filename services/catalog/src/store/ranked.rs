//! Pages of hits in the order of relevance, out of tours whose rank is known.
//!
//! A rank depends on the tour's words and the text, on nothing else. So the best tours of a text may be remembered together
//! with the snapshot in which they were found: a later statement uses them if it sees no words that were written by a
//! transaction which that snapshot did not see. All that is not words (price, place, departures) is read each time.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{QueryBuilder, Row as _};
use tourmesh_kit::{ApiResult, db::Db};
use uuid::Uuid;

use super::search::{
    Filters, Hit, Key, hit, push_columns, push_conditions, push_first_departure, push_hits, push_next, rank,
};

/// How many tours are remembered of a text: enough for some pages, and for filters that leave one in ten.
const KEPT: i64 = 200;

/// The tours that fit a text best, the best first.
#[derive(Debug)]
pub(crate) struct Best {
    /// What the ranks were computed in.
    snapshot: String,
    tours: Vec<Uuid>,
    ranks: Vec<i32>,
    /// No other tour has the words.
    complete: bool,
}

/// What the best tours tell of a page.
#[derive(Debug)]
pub(crate) enum Answer {
    /// All of it.
    Hits(Vec<Hit>),
    /// Tours further down belong to it as well.
    Short,
    /// Nothing: words have changed since.
    Changed,
}

impl Best {
    /// The tours and ranks behind a key.
    fn after(&self, key: Option<&Key>) -> (&[Uuid], &[i32]) {
        let passed = |key: &Key| {
            let all = self.ranks.iter().zip(&self.tours);
            all.take_while(|(rank, tour)| (Decimal::from(**rank), **tour) <= (key.number, key.tour)).count()
        };
        let first = key.map_or(0, passed);
        (self.tours.split_at(first).1, self.ranks.split_at(first).1)
    }
}

/// Ranks all tours that have the words, and returns the best.
pub(crate) async fn best(db: &Db, text: &str) -> ApiResult<Best> {
    let (snapshot, mut tours, mut ranks): (String, Vec<Uuid>, Vec<i32>) = sqlx::query_as(concat!(
        "WITH wanted AS MATERIALIZED (SELECT search_query($1) AS query),
              best AS (SELECT s.tour_id, ",
        rank!(),
        "                     AS rank
                       FROM search s WHERE s.words @@ (SELECT query FROM wanted) ORDER BY rank, s.tour_id LIMIT $2)
         SELECT pg_current_snapshot()::text, coalesce(array_agg(tour_id ORDER BY rank, tour_id), '{}'),
                coalesce(array_agg(rank ORDER BY rank, tour_id), '{}')
         FROM best",
    ))
    .bind(text)
    .bind(KEPT + 1)
    .fetch_one(db.pool())
    .await?;
    let kept = usize::try_from(KEPT).unwrap_or(usize::MAX);
    let complete = tours.len() <= kept;
    tours.truncate(kept);
    ranks.truncate(kept);
    Ok(Best { snapshot, tours, ranks, complete })
}

/// A page of hits among the best: up to `limit` after the given key. `filters` hold the text that the best were found by.
pub(crate) async fn page(
    db: &Db,
    filters: &Filters,
    best: &Best,
    after: Option<&Key>,
    limit: i64,
    now: DateTime<Utc>,
) -> ApiResult<Answer> {
    let (tours, ranks) = best.after(after);
    if tours.is_empty() && !best.complete {
        return Ok(Answer::Short);
    }
    // That these have the words is known.
    let others = Filters { text: String::new(), ..filters.clone() };
    // A row that is seen was written before this snapshot's end: what says otherwise was restored from another server.
    let mut sql = QueryBuilder::new(
        "WITH known AS MATERIALIZED (
             SELECT NOT EXISTS (SELECT FROM search n WHERE n.changed_in < pg_snapshot_xmax(pg_current_snapshot())
                                AND n.changed_in >= pg_snapshot_xmin(",
    );
    sql.push_bind(&best.snapshot).push("::pg_snapshot) AND NOT pg_visible_in_snapshot(n.changed_in, ");
    sql.push_bind(&best.snapshot).push("::pg_snapshot)) AS still), ");
    // One tour at a time, in the order of ranks, until the page is full: OFFSET keeps the planner from beginning elsewhere.
    sql.push("page AS (SELECT c.*");
    push_next(&mut sql, &others);
    sql.push(", '' AS key_text, k.rank AS key_number FROM unnest(").push_bind(tours);
    sql.push(", ").push_bind(ranks).push(") WITH ORDINALITY AS k(tour_id, rank, place) CROSS JOIN LATERAL (SELECT ");
    push_columns(&mut sql, &others);
    sql.push(" FROM search s");
    push_conditions(&mut sql, &others, now);
    sql.push(" AND s.tour_id = k.tour_id OFFSET 0) c");
    push_first_departure(&mut sql, &others, now);
    sql.push(" WHERE (SELECT still FROM known) ORDER BY k.place LIMIT ")
        .push_bind(limit)
        .push(") SELECT still, h.* FROM known LEFT JOIN (");
    push_hits(&mut sql, &others, now);
    // Last by place; the one row of a page without hits has none.
    sql.push(") h ON true ORDER BY h.key_number, h.id");
    let rows = sql.build().fetch_all(db.pool()).await?;
    let mut hits = Vec::with_capacity(rows.len());
    for row in rows {
        if !row.try_get::<bool, _>("still")? {
            return Ok(Answer::Changed);
        }
        if row.try_get::<Option<Uuid>, _>("id")?.is_some() {
            hits.push(hit(row)?);
        }
    }
    let full = i64::try_from(hits.len()).is_ok_and(|found| found >= limit);
    Ok(if full || best.complete { Answer::Hits(hits) } else { Answer::Short })
}
