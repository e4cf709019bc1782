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

-- Writes the calendars of these tours that are on sale. Whoever changes departures holds their tours until the end, and each
-- statement in here sees what was committed before it: so no change is missed, whoever comes first.
CREATE FUNCTION fill_calendars(which uuid[]) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    -- No zone is two days behind.
    since constant date := (now() AT TIME ZONE 'UTC')::date - 2;
    none  constant bit(800) := repeat('0', 800)::bit(800);
BEGIN
    PERFORM FROM tours WHERE id = ANY (which) ORDER BY id FOR NO KEY UPDATE;
    UPDATE search s
    SET open_since = since, open_days = c.days, open_later = c.later, open_capacity = c.capacity
    FROM unnest(which) AS t(id)
    CROSS JOIN LATERAL (
        SELECT coalesce(substring(bit_or(set_bit(none, d.day, 1)) FILTER (WHERE d.day < 800)
                                  FOR max(d.day) FILTER (WHERE d.day < 800) + 1), '') AS days,
               coalesce(bool_or(d.day >= 800), false) AS later,
               coalesce(min(d.capacity) FILTER (WHERE d.day < 800), 0) AS capacity
        FROM (SELECT local_start::date - since AS day, capacity FROM departures
              WHERE tour_id = t.id AND state = 1 AND local_start >= since) d
    ) c
    WHERE s.tour_id = t.id;
END
$$;

-- Triggers, so that no way to write departures leaves them out.
CREATE FUNCTION calendars_changed() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM fill_calendars(array_agg(DISTINCT tour_id)) FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER departures_added AFTER INSERT ON departures
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION calendars_changed();
CREATE TRIGGER departures_changed AFTER UPDATE ON departures
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION calendars_changed();
-- A tour that goes on sale has its departures already.
CREATE TRIGGER search_added AFTER INSERT ON search
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION calendars_changed();

SELECT fill_calendars(array_agg(tour_id)) FROM search;
