-- What can be booked: suppliers, tours, options, schedules and their departures.

CREATE TABLE suppliers (
    id            uuid        PRIMARY KEY,
    name          text        NOT NULL CHECK (name <> ''),
    contact_email text        NOT NULL CHECK (contact_email LIKE '%_@_%'),
    country       text        NOT NULL CHECK (country ~ '^([A-Z]{2})?$'),
    version       bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at    timestamptz NOT NULL
);
CREATE INDEX suppliers_by_name ON suppliers (name, id);

-- state: 1 draft, 2 published, 3 archived; category: 1 guided walk, 2 day trip, 3 multi-day, 4 activity (as in the API).
CREATE TABLE tours (
    id             uuid             PRIMARY KEY,
    supplier_id    uuid             NOT NULL REFERENCES suppliers,
    external_id    text             NOT NULL DEFAULT '',
    title_en       text             NOT NULL CHECK (title_en <> ''),
    title_fr       text             NOT NULL,
    description_en text             NOT NULL,
    description_fr text             NOT NULL,
    category       smallint         CHECK (category BETWEEN 1 AND 4),
    latitude       double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude      double precision CHECK (longitude BETWEEN -180 AND 180),
    country        text             NOT NULL CHECK (country ~ '^([A-Z]{2})?$'),
    time_zone      text             NOT NULL,
    currency       char(3)          NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    state          smallint         NOT NULL CHECK (state BETWEEN 1 AND 3),
    version        bigint           NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at     timestamptz      NOT NULL,
    updated_at     timestamptz      NOT NULL,
    CHECK ((latitude IS NULL) = (longitude IS NULL)),
    CHECK (state <> 2 OR (category IS NOT NULL AND latitude IS NOT NULL)),
    UNIQUE (id, currency)
);
CREATE UNIQUE INDEX tours_by_external_id ON tours (supplier_id, external_id) WHERE external_id <> '';
CREATE INDEX tours_of_supplier ON tours (supplier_id, created_at DESC, id DESC);
CREATE INDEX tours_by_age ON tours (created_at DESC, id DESC);

-- Units, price lists and refund tiers are read and written as a whole, with the option; they are documents:
-- units:        [{"unit": 1, "seats": 1, "min_age": 0, "max_age": 0}]
-- price_lists:  [{"from": "2026-05-01" or null, "until": null, "prices": [{"unit": 1, "amount": "29.00"}]}]
-- refund_tiers: [{"hours_before": 24, "refund_percent": 100}]
-- Amounts are decimal texts in the option's currency, which is the tour's.
CREATE TABLE options (
    id               uuid        PRIMARY KEY,
    tour_id          uuid        NOT NULL,
    title_en         text        NOT NULL CHECK (title_en <> ''),
    title_fr         text        NOT NULL,
    duration_minutes integer     NOT NULL CHECK (duration_minutes BETWEEN 1 AND 129600),
    currency         char(3)     NOT NULL,
    units            jsonb       NOT NULL CHECK (jsonb_array_length(units) > 0),
    price_lists      jsonb       NOT NULL CHECK (jsonb_array_length(price_lists) > 0
                                          AND NOT price_lists @? '$[*].prices[*].amount ? (@ starts with "-")'),
    refund_tiers     jsonb       NOT NULL,
    min_party        integer     NOT NULL CHECK (min_party >= 1),
    max_party        integer     NOT NULL CHECK (max_party = 0 OR max_party >= min_party),
    hold_seconds     integer     NOT NULL CHECK (hold_seconds BETWEEN 0 AND 86400),
    pay_on_arrival   boolean     NOT NULL,
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at       timestamptz NOT NULL,
    FOREIGN KEY (tour_id, currency) REFERENCES tours (id, currency),
    UNIQUE (id, tour_id)
);
CREATE INDEX options_of_tour ON options (tour_id, created_at, id);

-- weekdays: bit 0 is Monday. start_times: ["09:00"], blackout_dates: ["2026-12-25"], both local.
CREATE TABLE schedules (
    id             uuid        PRIMARY KEY,
    option_id      uuid        NOT NULL,
    tour_id        uuid        NOT NULL,
    weekdays       smallint    NOT NULL CHECK (weekdays BETWEEN 1 AND 127),
    start_times    jsonb       NOT NULL CHECK (jsonb_array_length(start_times) > 0),
    start_date     date        NOT NULL,
    end_date       date        CHECK (end_date >= start_date),
    capacity       integer     NOT NULL CHECK (capacity BETWEEN 1 AND 100000),
    blackout_dates jsonb       NOT NULL,
    -- Departures exist up to and including this local date.
    filled_until   date        NOT NULL,
    created_at     timestamptz NOT NULL,
    FOREIGN KEY (option_id, tour_id) REFERENCES options (id, tour_id)
);
CREATE INDEX schedules_of_option ON schedules (option_id, created_at, id);
CREATE INDEX schedules_to_fill ON schedules (filled_until);

-- state: 1 open, 2 closed, 3 cancelled. The id is derived from option and local start, so nothing doubles, anywhere.
CREATE TABLE departures (
    id               uuid        PRIMARY KEY,
    tour_id          uuid        NOT NULL,
    option_id        uuid        NOT NULL,
    supplier_id      uuid        NOT NULL,
    schedule_id      uuid,
    local_start      timestamp   NOT NULL,
    time_zone        text        NOT NULL,
    starts_at        timestamptz NOT NULL,
    duration_minutes integer     NOT NULL CHECK (duration_minutes > 0),
    capacity         integer     NOT NULL CHECK (capacity BETWEEN 0 AND 100000),
    state            smallint    NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 3),
    version          bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    FOREIGN KEY (option_id, tour_id) REFERENCES options (id, tour_id),
    UNIQUE (option_id, local_start)
);
CREATE INDEX departures_of_tour ON departures (tour_id, starts_at, id);
-- What search asks: has the tour an open departure in these days, and which is the next?
CREATE INDEX departures_on_sale ON departures (tour_id, local_start) INCLUDE (starts_at, capacity, option_id)
    WHERE state = 1;

-- What makes repeats harmless: one row for each change that was asked for, in the transaction of the change.
CREATE TABLE requests (
    caller     text        NOT NULL,
    method     text        NOT NULL,
    request_id text        NOT NULL,
    hash       bytea       NOT NULL,
    subject    uuid        NOT NULL,
    -- The answer, where the row alone cannot tell it again.
    answer     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);
