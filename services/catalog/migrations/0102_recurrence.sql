-- Schedules by recurrence rule, changes of schedules, and blackouts. Rows of before keep their meaning.

ALTER TABLE schedules
    -- An RFC 5545 rule that counts from start_date; '': weekdays say the dates.
    ADD COLUMN recurrence      text  NOT NULL DEFAULT '' CHECK (char_length(recurrence) <= 300),
    ADD COLUMN extra_dates     jsonb NOT NULL DEFAULT '[]',
    -- First local date on which it counts; NULL: start_date.
    ADD COLUMN effective_from  date,
    -- From this local date on another schedule counts instead; NULL: none.
    ADD COLUMN superseded_from date,
    DROP CONSTRAINT schedules_weekdays_check,
    ADD CONSTRAINT schedules_rhythm CHECK (weekdays BETWEEN 0 AND 127 AND (weekdays = 0) = (recurrence <> ''));

-- Closed because its schedule no longer has it or its date is blacked out, not by hand: it may open again by itself.
ALTER TABLE departures
    ADD COLUMN withdrawn boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT departures_withdrawn CHECK (NOT withdrawn OR state = 2);

-- Local dates, both included, without departures: of one tour, or of all tours of the supplier.
CREATE TABLE blackouts (
    id          uuid        PRIMARY KEY,
    supplier_id uuid        NOT NULL REFERENCES suppliers,
    tour_id     uuid        REFERENCES tours,
    first_date  date        NOT NULL,
    last_date   date        NOT NULL,
    reason      text        NOT NULL CHECK (reason <> ''),
    created_at  timestamptz NOT NULL,
    deleted_at  timestamptz,
    CHECK (last_date >= first_date)
);
CREATE INDEX blackouts_of_supplier ON blackouts (supplier_id, first_date, id) WHERE deleted_at IS NULL;
CREATE INDEX blackouts_by_date ON blackouts (first_date, id) WHERE deleted_at IS NULL;

-- Work to do: tours whose departures between these local dates do not follow their schedules and blackouts yet.
CREATE TABLE unsettled (
    tour_id    uuid PRIMARY KEY REFERENCES tours,
    first_date date NOT NULL,
    last_date  date NOT NULL
);

-- For pruning.
CREATE INDEX requests_by_age ON requests (created_at);
