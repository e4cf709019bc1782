-- What makes a search cheap however many tours there are.

-- A function that is STRICT and holds least() is not inlined: each distance cost as much as a statement of its own. Nothing
-- here is ever null.
CREATE OR REPLACE FUNCTION meters_between(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)
    RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE CALLED ON NULL INPUT
    RETURN round(2 * 6371008.8 * asin(least(1, sqrt(
        sin(radians(lat2 - lat1) / 2) ^ 2 + cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ^ 2))))::integer;

-- The transaction that last changed what the tour is found by. Whoever remembers which tours have a word, and the snapshot in
-- which that was so, asks with it whether it is still so: times would not tell, because transactions commit in any order.
ALTER TABLE search ADD COLUMN changed_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX search_changed_in ON search (changed_in);

-- A trigger, so that no way to write words, not even that of a program of before, leaves it out.
CREATE FUNCTION words_changed() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END
$$;
CREATE TRIGGER search_words_changed BEFORE UPDATE ON search
    FOR EACH ROW WHEN (OLD.words IS DISTINCT FROM NEW.words) EXECUTE FUNCTION words_changed();

-- One currency in the order of titles, with the price: what costs too much is left out without a look at its row.
DROP INDEX search_by_currency_en;
DROP INDEX search_by_currency_fr;
CREATE INDEX search_by_currency_en ON search (currency, title_en_key, tour_id) INCLUDE (from_price);
CREATE INDEX search_by_currency_fr ON search (currency, title_fr_key, tour_id) INCLUDE (from_price);
