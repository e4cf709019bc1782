-- Seats, bookings, and the money that goes back.
--
-- Lock order, everywhere: bookings (by id) before departures (by id). A hold locks departures only and inserts new
-- bookings, so it never waits for a booking; everything that changes a booking locks the booking first.

-- The seat inventory: a copy of what the catalog says about a departure, and how many of its seats are taken.
-- `capacity_wanted` is the catalog's number. `capacity` is what may be sold: greatest(capacity_wanted, held), because a
-- capacity that is lowered below what is sold cannot take seats back. It shrinks as seats are freed, never grows by a
-- hold, and held <= capacity stays true throughout.
CREATE TABLE departures (
    id              uuid        PRIMARY KEY,
    tour_id         uuid        NOT NULL,
    option_id       uuid        NOT NULL,
    supplier_id     uuid        NOT NULL,
    starts_at       timestamptz NOT NULL,
    state           text        NOT NULL CHECK (state IN ('OPEN', 'CLOSED', 'CANCELLED')),
    capacity_wanted integer     NOT NULL CHECK (capacity_wanted >= 0),
    capacity        integer     NOT NULL,
    held            integer     NOT NULL DEFAULT 0,
    -- The departure was called off and may still have bookings that are to be cancelled.
    calling_off     boolean     NOT NULL DEFAULT false,
    -- The catalog's version of the departure; an older one never overwrites a newer one.
    version         bigint      NOT NULL,
    CONSTRAINT never_oversold CHECK (0 <= held AND held <= capacity),
    CONSTRAINT capacity_follows_the_catalog CHECK (capacity_wanted <= capacity),
    CONSTRAINT only_a_cancelled_departure_is_called_off CHECK (NOT calling_off OR state = 'CANCELLED')
    -- A hot departure is updated thousands of times a second: room in the page keeps those updates off the index.
) WITH (fillfactor = 50);
CREATE INDEX departures_calling_off ON departures (id) WHERE calling_off;

-- What a purchase was made under, frozen. The id is a hash of the content, so that the bookings of one departure share
-- one row; rows are never changed.
CREATE TABLE terms (
    id               uuid        PRIMARY KEY,
    supplier_id      uuid        NOT NULL,
    tour_id          uuid        NOT NULL,
    option_id        uuid        NOT NULL,
    tour_title_en    text        NOT NULL,
    tour_title_fr    text        NOT NULL,
    option_title_en  text        NOT NULL,
    option_title_fr  text        NOT NULL,
    local_start      text        NOT NULL,
    time_zone        text        NOT NULL,
    starts_at        timestamptz NOT NULL,
    duration_minutes integer     NOT NULL CHECK (duration_minutes >= 0),
    hold_seconds     integer     NOT NULL CHECK (hold_seconds > 0),
    -- The refund policy: tier n gives refund_percents[n] back at least refund_hours[n] before the start.
    refund_hours     integer[]   NOT NULL,
    refund_percents  integer[]   NOT NULL,
    CHECK (cardinality(refund_hours) = cardinality(refund_percents)),
    CHECK (0 <= ALL (refund_percents) AND 100 >= ALL (refund_percents))
);

-- No foreign keys on purpose: departures and terms are never deleted, and a hold has its departure's row locked; the
-- check of each row would cost more than the row.
CREATE TABLE bookings (
    id               uuid          PRIMARY KEY,
    customer_id      uuid          NOT NULL,
    supplier_id      uuid          NOT NULL,
    departure_id     uuid          NOT NULL,
    terms_id         uuid          NOT NULL,
    state            text          NOT NULL
        CHECK (state IN ('ON_HOLD', 'CONFIRMED', 'EXPIRED', 'CANCELLED', 'REDEEMED', 'PENDING', 'REJECTED')),
    seats            integer       NOT NULL CHECK (seats > 0),
    currency         char(3)       NOT NULL,
    total            numeric(19,4) NOT NULL CHECK (total >= 0),
    pay_on_arrival   boolean       NOT NULL,
    contact_name     text          NOT NULL,
    contact_email    text          NOT NULL,
    contact_language text          NOT NULL,
    -- What made it: a repeat finds it, other content is refused.
    request_id       text          NOT NULL,
    request_hash     bytea         NOT NULL CHECK (octet_length(request_hash) = 32),
    -- Numbers the requests to Payment; stored before each, so that a repeat after a crash is the same request.
    payment_attempts integer       NOT NULL DEFAULT 0 CHECK (payment_attempts >= 0),
    payment_id       uuid,
    refund           numeric(19,4) CHECK (refund BETWEEN 0 AND total),
    created_at       timestamptz   NOT NULL,
    hold_expires_at  timestamptz,
    confirmed_at     timestamptz,
    cancelled_at     timestamptz,
    version          bigint        NOT NULL DEFAULT 1 CHECK (version >= 1),
    CONSTRAINT a_hold_has_an_end CHECK ((state = 'ON_HOLD') = (hold_expires_at IS NOT NULL)),
    CONSTRAINT cancelled_says_when CHECK ((state = 'CANCELLED') = (cancelled_at IS NOT NULL)),
    CONSTRAINT cancelled_says_what_goes_back CHECK ((state = 'CANCELLED') = (refund IS NOT NULL)),
    CONSTRAINT sold_says_when CHECK (state NOT IN ('CONFIRMED', 'REDEEMED') OR confirmed_at IS NOT NULL),
    CONSTRAINT unsold_was_never_confirmed CHECK (state NOT IN ('ON_HOLD', 'EXPIRED') OR confirmed_at IS NULL),
    CONSTRAINT confirmed_is_paid
        CHECK (confirmed_at IS NULL OR payment_id IS NOT NULL OR total = 0 OR pay_on_arrival)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX bookings_request ON bookings (customer_id, request_id);
CREATE INDEX bookings_of_customer ON bookings (customer_id, id);
CREATE INDEX bookings_of_supplier ON bookings (supplier_id, id);
CREATE INDEX bookings_of_departure ON bookings (departure_id, id);
CREATE INDEX bookings_due ON bookings (hold_expires_at) WHERE state = 'ON_HOLD';
CREATE INDEX bookings_open_holds ON bookings (customer_id) WHERE state = 'ON_HOLD';

-- The guests.
CREATE TABLE unit_items (
    booking_id  uuid          NOT NULL,
    position    smallint      NOT NULL CHECK (position >= 0),
    id          uuid          NOT NULL,
    -- tourmesh.common.v1.UnitType.
    unit        smallint      NOT NULL CHECK (unit BETWEEN 1 AND 9),
    seats       smallint      NOT NULL CHECK (seats >= 0),
    -- In the booking's currency.
    price       numeric(19,4) NOT NULL CHECK (price >= 0),
    voucher     text          CHECK (length(voucher) >= 26),
    redeemed_at timestamptz   CHECK (redeemed_at IS NULL OR voucher IS NOT NULL),
    PRIMARY KEY (booking_id, position)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX unit_items_voucher ON unit_items (voucher) WHERE voucher IS NOT NULL;

-- The requests that changed an existing booking: what makes their repeats harmless.
CREATE TABLE requests (
    caller     text        NOT NULL,
    method     text        NOT NULL,
    request_id text        NOT NULL,
    hash       bytea       NOT NULL CHECK (octet_length(hash) = 32),
    subject    uuid        NOT NULL,
    -- What the method has to remember: the payment attempt, or the position of the item.
    detail     integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);

-- Money that has to go back, until Payment has taken it over.
CREATE TABLE refund_tasks (
    id          uuid          PRIMARY KEY,
    booking_id  uuid          NOT NULL,
    payment_id  uuid          NOT NULL,
    amount      numeric(19,4) NOT NULL CHECK (amount > 0),
    currency    char(3)       NOT NULL,
    -- LATE: captured without a hold to confirm. CANCELLED: what the frozen policy gives back.
    cause       text          NOT NULL CHECK (cause IN ('LATE', 'CANCELLED')),
    -- What Payment deduplicates by; unique here too, so that there is one refund for one reason.
    request_id  text          NOT NULL UNIQUE,
    created_at  timestamptz   NOT NULL DEFAULT now(),
    -- Not before this time: the back-off after a failure, and the lease while somebody is at it.
    next_try_at timestamptz   NOT NULL DEFAULT now(),
    tries       integer       NOT NULL DEFAULT 0,
    last_error  text,
    done_at     timestamptz
);
CREATE INDEX refund_tasks_open ON refund_tasks (next_try_at) WHERE done_at IS NULL;
CREATE INDEX refund_tasks_of_booking ON refund_tasks (booking_id);
