-- How far the relay has published, in one row instead of a mark on every event: a mark costs a new version of the row and
-- an entry in each of its indexes, which was as much as writing the event.
CREATE TABLE outbox_cursor (
    only_row boolean  PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Everything up to here was published, but for the gaps.
    head     bigint   NOT NULL,
    -- Numbers below the head that were not there when the relay came by: their transactions were still open, or had been
    -- rolled back.
    gaps     bigint[] NOT NULL DEFAULT '{}'
);
-- Begins before the first event that bears no mark; what follows it is published again, and known by its id.
INSERT INTO outbox_cursor (head)
SELECT coalesce(min(seq) FILTER (WHERE published_at IS NULL) - 1, max(seq), 0) FROM outbox;

-- Its partial indexes go with it.
ALTER TABLE outbox DROP COLUMN published_at;
-- Ids are made once and never looked up here.
ALTER TABLE outbox DROP CONSTRAINT outbox_id_key;

-- What has not been published yet.
CREATE VIEW outbox_waiting AS
SELECT o.* FROM outbox_cursor c JOIN outbox o ON o.seq > c.head
UNION ALL
SELECT o.* FROM outbox_cursor c CROSS JOIN unnest(c.gaps) g (seq) JOIN outbox o ON o.seq = g.seq;
