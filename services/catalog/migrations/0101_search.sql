-- Search: one narrow row for each published tour, written with the tour, so that a query touches little.

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS unaccent;

-- Lower case without accents: "Château" and "chateau" are the same. The dictionary is named, so the result depends on
-- nothing but the argument, which is what IMMUTABLE promises (unaccent itself is STABLE only because of its other form).
CREATE FUNCTION plain(words text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(public.unaccent('public.unaccent'::regdictionary, words));

-- What a tour is found by: its words in both languages, without accents and reduced to their stems, and those of its
-- titles as they are.
CREATE FUNCTION search_words(title_en text, title_fr text, description_en text, description_fr text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN setweight(to_tsvector('english', plain(title_en)) || to_tsvector('french', plain(title_fr)), 'A')
        || setweight(to_tsvector('simple', plain(title_en || ' ' || title_fr)), 'B')
        || setweight(to_tsvector('english', plain(description_en)) || to_tsvector('french', plain(description_fr)), 'C');

-- What is looked for, read in both languages; a text of nothing but words like "the" is looked for as it is.
CREATE FUNCTION search_query(words text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN (SELECT CASE WHEN numnode(q) > 0 THEN q ELSE websearch_to_tsquery('simple', plain(words)) END
            FROM (VALUES (websearch_to_tsquery('english', plain(words)) || websearch_to_tsquery('french', plain(words))))
                 AS query(q));

-- Metres between two points on a sphere of the earth's mean radius (haversine).
CREATE FUNCTION meters_between(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)
    RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN round(2 * 6371008.8 * asin(least(1, sqrt(
        sin(radians(lat2 - lat1) / 2) ^ 2 + cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ^ 2))))::integer;

CREATE TABLE search (
    tour_id          uuid             PRIMARY KEY REFERENCES tours,
    category         smallint         NOT NULL,
    country          text             NOT NULL,
    latitude         double precision NOT NULL,
    longitude        double precision NOT NULL,
    currency         text             NOT NULL,
    -- The lowest adult price that counts today, and the local date on which that may change.
    from_price       numeric(19, 4)   CHECK (from_price >= 0),
    price_changes_on date,
    time_zone        text             NOT NULL,
    -- Tours without a price come last.
    price_key        numeric(20, 4)   NOT NULL GENERATED ALWAYS AS (coalesce(from_price, 1000000000000000)) STORED,
    title_en_key     text             COLLATE "C" NOT NULL,
    title_fr_key     text             COLLATE "C" NOT NULL,
    words            tsvector         NOT NULL
);
CREATE INDEX search_words_index ON search USING gin (words);
CREATE INDEX search_place ON search USING gist (point(longitude, latitude));
CREATE INDEX search_by_price ON search (currency, price_key, tour_id);
CREATE INDEX search_by_title_en ON search (title_en_key, tour_id);
CREATE INDEX search_by_title_fr ON search (title_fr_key, tour_id);
CREATE INDEX search_country ON search (country);
CREATE INDEX search_price_changes ON search (price_changes_on) WHERE price_changes_on IS NOT NULL;

-- Every word of every tour that was ever on sale, unstemmed: what a mistyped word is corrected to.
CREATE TABLE vocabulary (
    word text PRIMARY KEY
);
CREATE INDEX vocabulary_trigrams ON vocabulary USING gin (word gin_trgm_ops);
