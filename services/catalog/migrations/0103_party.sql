-- What parties the options of a tour take, so that a search by party looks at options only where they differ.
-- The defaults are those of a tour of which nothing is known: some option may take the party, not all do.

ALTER TABLE search
    -- The smallest and the largest party that some option takes.
    ADD COLUMN some_from  integer NOT NULL DEFAULT 0,
    ADD COLUMN some_until integer NOT NULL DEFAULT 2147483647,
    -- The smallest and the largest party that every option takes.
    ADD COLUMN all_from   integer NOT NULL DEFAULT 2147483647,
    ADD COLUMN all_until  integer NOT NULL DEFAULT 0;

UPDATE search s
SET some_from = p.some_from, some_until = p.some_until, all_from = p.all_from, all_until = p.all_until
FROM (SELECT tour_id, min(min_party) AS some_from, max(coalesce(nullif(max_party, 0), 2147483647)) AS some_until,
             max(min_party) AS all_from, min(coalesce(nullif(max_party, 0), 2147483647)) AS all_until
      FROM options GROUP BY tour_id) p
WHERE p.tour_id = s.tour_id;
