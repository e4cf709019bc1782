-- On which days a tour can be booked, in its search row: so that a search by dates, and above all a count of its hits, looks
-- at departures only where days do not tell.

ALTER TABLE search
    -- The first local day of the calendar.
    ADD COLUMN open_since    date        NOT NULL DEFAULT '2000-01-01',
    -- One bit for each day from there: is there an open departure?
    ADD COLUMN open_days     bit varying NOT NULL DEFAULT '',
    -- Are there open departures after the last of 800 days, or is nothing known of them?
    ADD COLUMN open_later    boolean     NOT NULL DEFAULT true,
    -- Every open departure on these days has at least so many seats.
    ADD COLUMN open_capacity integer     NOT NULL DEFAULT 0,
    -- Room for a changed calendar beside the one of before, so that no index hears of it.
    SET (fillfactor = 85);

-- The calendar of a tour from a day on, as its departures are now.
CREATE FUNCTION calendar_of(tour uuid, since date, OUT days bit varying, OUT later boolean, OUT capacity integer)
    LANGUAGE sql VOLATILE
    RETURN (
        SELECT (coalesce(substring(bit_or(set_bit(repeat('0', 800)::bit(800), d.day, 1)) FILTER (WHERE d.day < 800)
                                   FOR max(d.day) FILTER (WHERE d.day < 800) + 1), ''),
                coalesce(bool_or(d.day >= 800), false),
                coalesce(min(d.capacity) FILTER (WHERE d.day < 800), 0))
        FROM (SELECT local_start::date - since AS day, capacity FROM departures
              WHERE tour_id = tour AND state = 1 AND local_start >= since) d);

-- No zone is two days behind.
CREATE FUNCTION calendar_begins() RETURNS date
    LANGUAGE sql STABLE
    RETURN (now() AT TIME ZONE 'UTC')::date - 2;

-- Writes the calendars of these tours that are on sale. Whoever changes departures holds their tours until the end, and each
-- statement in here sees what was committed before it: so no change is missed, whoever comes first.
CREATE FUNCTION fill_calendars(which uuid[]) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tours WHERE id = ANY (which) ORDER BY id FOR NO KEY UPDATE;
    UPDATE search
    SET open_since = calendar_begins(),
        (open_days, open_later, open_capacity) = (SELECT * FROM calendar_of(tour_id, calendar_begins()))
    WHERE tour_id = ANY (which);
END
$$;

-- Triggers, so that no way to write departures leaves them out.
CREATE FUNCTION departures_changed() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM fill_calendars(array_agg(DISTINCT tour_id)) FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER departures_added AFTER INSERT ON departures
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION departures_changed();
CREATE TRIGGER departures_changed AFTER UPDATE ON departures
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION departures_changed();

-- A tour that goes on sale has its departures already.
CREATE FUNCTION search_added() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tours WHERE id = NEW.tour_id FOR NO KEY UPDATE;
    NEW.open_since := calendar_begins();
    SELECT * INTO NEW.open_days, NEW.open_later, NEW.open_capacity FROM calendar_of(NEW.tour_id, NEW.open_since);
    RETURN NEW;
END
$$;
CREATE TRIGGER search_added BEFORE INSERT ON search FOR EACH ROW EXECUTE FUNCTION search_added();

SELECT fill_calendars(array_agg(tour_id)) FROM search;
