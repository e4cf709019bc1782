-- Words go into the index when they are written. The list of those that wait for a vacuum is read by every search.
DROP INDEX search_words_index;
CREATE INDEX search_words_index ON search USING gin (words) WITH (fastupdate = off);
