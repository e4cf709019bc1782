-- What a repeat is answered with, where the row that was changed does not tell.
ALTER TABLE requests ADD COLUMN detail integer NOT NULL DEFAULT 0;
