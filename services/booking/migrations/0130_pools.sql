-- Resource pools: what the departures of several tours share while they last.
--
-- Time is cut into slots, counted from the epoch in the pool's own slot_minutes. A departure has a share of every slot that
-- it touches: pool_units for every pool_seats of its held seats, begun ones in full. So what is held of a slot is the sum
-- of that over its departures, and one guarded row says whether more fits.
--
-- Lock order: option_pools before departures (by id) before pools before pool_slots (by pool and slot). What a departure
-- shares stands in its own row, because a statement sees a row that it waited for as it is now, and others as they were.

CREATE TABLE pools (
    id           uuid    PRIMARY KEY,
    capacity     integer NOT NULL CHECK (capacity >= 0),
    slot_minutes integer NOT NULL CHECK (slot_minutes > 0),
    -- The catalog's version of the pool; an older one never overwrites a newer one.
    version      bigint  NOT NULL
);

-- What departures of an option use, as the catalog says. There is a row for each option that has departures: who adds one
-- shares its lock, who changes what they use has it alone, so that no departure is missed.
CREATE TABLE option_pools (
    option_id        uuid      PRIMARY KEY,
    version          bigint    NOT NULL DEFAULT 0,
    duration_minutes integer   NOT NULL DEFAULT 0 CHECK (duration_minutes >= 0),
    pool_ids         uuid[]    NOT NULL DEFAULT '{}',
    units            integer[] NOT NULL DEFAULT '{}' CHECK (0 < ALL (units)),
    seats            integer[] NOT NULL DEFAULT '{}' CHECK (0 < ALL (seats)),
    CHECK (cardinality(pool_ids) = cardinality(units) AND cardinality(pool_ids) = cardinality(seats))
);
INSERT INTO option_pools (option_id) SELECT DISTINCT option_id FROM departures;

ALTER TABLE departures
    -- NULL: none.
    ADD COLUMN pool_ids   uuid[]    CHECK (cardinality(pool_ids) > 0),
    ADD COLUMN pool_units integer[],
    ADD COLUMN pool_seats integer[],
    -- The slots: from the first one until before the last one.
    ADD COLUMN pool_first integer[],
    ADD COLUMN pool_until integer[],
    ADD CONSTRAINT shares_are_complete CHECK (
        num_nulls(pool_ids, pool_units, pool_seats, pool_first, pool_until) IN (0, 5));
CREATE INDEX departures_sharing ON departures (option_id) WHERE pool_ids IS NOT NULL;

-- As with departures, `capacity` is what may be held: greatest(capacity_wanted, held).
CREATE TABLE pool_slots (
    pool_id         uuid    NOT NULL,
    slot            integer NOT NULL,
    capacity_wanted integer NOT NULL CHECK (capacity_wanted >= 0),
    capacity        integer NOT NULL,
    held            integer NOT NULL DEFAULT 0,
    PRIMARY KEY (pool_id, slot),
    CONSTRAINT never_overused_in_a_slot CHECK (0 <= held AND held <= capacity),
    CONSTRAINT slot_follows_the_catalog CHECK (capacity_wanted <= capacity)
) WITH (fillfactor = 50);

-- The seats that a departure can still sell: its own, and no more than its pools have units for.
CREATE FUNCTION seats_left(d departures) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN d.pool_ids IS NULL THEN d.capacity - d.held ELSE least(d.capacity - d.held, (
        SELECT min((p.units::bigint * ((d.held + p.seats - 1) / p.seats) + s.capacity - s.held) / p.units * p.seats - d.held)
        FROM unnest(d.pool_ids, d.pool_units, d.pool_seats, d.pool_first, d.pool_until)
             p(pool_id, units, seats, first, until)
        JOIN pool_slots s ON s.pool_id = p.pool_id AND s.slot >= p.first AND s.slot < p.until))::integer END
$$;
