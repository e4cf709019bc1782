-- What a message needs to know about a booking, as the newest event told it. A row without facts stands for a booking
-- of which only a payment was heard so far: two transactions that meet at a booking queue at this row.
CREATE TABLE bookings (
    id        uuid        PRIMARY KEY,
    version   bigint      NOT NULL DEFAULT 0 CHECK (version >= 0),
    user_id   uuid,
    email     text        CHECK (email <> ''),
    language  text        CHECK (language IN ('en', 'fr')),
    facts     jsonb,
    starts_at timestamptz,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    CHECK ((facts IS NULL) = (user_id IS NULL)),
    CHECK ((facts IS NULL) = (email IS NULL)),
    CHECK ((facts IS NULL) = (language IS NULL))
);
-- For pruning after the tour.
CREATE INDEX bookings_past ON bookings ((coalesce(starts_at, seen_at)));

-- How a person wants to be told. No row: the defaults.
CREATE TABLE preferences (
    user_id    uuid        PRIMARY KEY,
    -- NULL: the language of the booking.
    language   text        CHECK (language IN ('en', 'fr')),
    muted      text[]      NOT NULL DEFAULT '{}'
               CHECK (muted <@ ARRAY['BOOKING_CONFIRMED', 'BOOKING_CANCELLED', 'PAYMENT_FAILED']),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Requests that changed a row that was there before.
CREATE TABLE requests (
    caller     text        NOT NULL,
    method     text        NOT NULL,
    request_id text        NOT NULL,
    hash       bytea       NOT NULL,
    subject    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);

-- Messages to people: each made once (channel and topic), each handed over once (state and lease).
CREATE TABLE deliveries (
    id           uuid        PRIMARY KEY,
    channel      text        NOT NULL DEFAULT 'EMAIL' CHECK (channel IN ('EMAIL')),
    kind         text        NOT NULL CHECK (kind IN ('BOOKING_CONFIRMED', 'BOOKING_CANCELLED', 'PAYMENT_FAILED')),
    -- What it tells, such as "bkg_…:confirmed": a person hears each thing once, whatever is repeated.
    topic        text        NOT NULL CHECK (topic <> ''),
    -- The event that asked for it, or the delivery that it repeats.
    event_id     uuid,
    resend_of    uuid        REFERENCES deliveries (id),
    user_id      uuid        NOT NULL,
    booking_id   uuid,
    -- Where it goes and what it says. NULL until the booking is known.
    language     text        CHECK (language IN ('en', 'fr')),
    email        text        CHECK (email <> ''),
    booking      jsonb,
    detail       jsonb       NOT NULL,
    state        text        NOT NULL CHECK (state IN ('PENDING', 'SENT', 'FAILED', 'SUPPRESSED')),
    -- When it is tried next. A sender that takes it moves this past its lease: when the sender dies, it is due again.
    due_at       timestamptz,
    -- Counts the takings, and so tells a late sender that another one has taken it since.
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    error        text        NOT NULL DEFAULT '',
    subject      text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    traceparent  text,
    -- Who asked for a repetition, see the idempotency of the house.
    requested_by text,
    request_id   text,
    request_hash bytea,
    UNIQUE (channel, topic),
    CHECK ((state = 'PENDING') = (due_at IS NOT NULL)),
    CHECK ((state = 'SENT') = (sent_at IS NOT NULL)),
    CHECK (state <> 'SENT' OR email IS NOT NULL),
    CHECK ((email IS NULL) = (booking IS NULL)),
    CHECK ((event_id IS NULL) <> (resend_of IS NULL)),
    CHECK ((resend_of IS NULL) = (request_id IS NULL)),
    CHECK ((request_id IS NULL) = (requested_by IS NULL)),
    CHECK ((request_id IS NULL) = (request_hash IS NULL))
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'PENDING';
CREATE INDEX deliveries_unaddressed ON deliveries (booking_id) WHERE email IS NULL AND state = 'PENDING';
CREATE INDEX deliveries_of_user ON deliveries (user_id, id DESC);
CREATE INDEX deliveries_of_booking ON deliveries (booking_id, id DESC);
CREATE UNIQUE INDEX deliveries_request ON deliveries (requested_by, request_id) WHERE request_id IS NOT NULL;
