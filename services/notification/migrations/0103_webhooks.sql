-- Where programs of suppliers and resellers are told.
CREATE TABLE webhook_endpoints (
    id               uuid        PRIMARY KEY,
    -- A supplier hears of its tours' bookings, a customer of those that they made.
    owner_kind       text        NOT NULL CHECK (owner_kind IN ('SUPPLIER', 'CUSTOMER')),
    owner_id         uuid        NOT NULL,
    url              text        NOT NULL CHECK (url <> ''),
    -- None: all.
    events           text[]      NOT NULL DEFAULT '{}',
    secret           bytea       NOT NULL CHECK (length(secret) BETWEEN 24 AND 64),
    -- The one before, which still signs for a while.
    old_secret       bytea,
    old_secret_until timestamptz,
    contact_email    text        NOT NULL CHECK (contact_email <> ''),
    language         text        NOT NULL CHECK (language IN ('en', 'fr')),
    enabled          boolean     NOT NULL DEFAULT true,
    disabled_reason  text        NOT NULL DEFAULT '',
    -- Since when every try failed.
    failing_since    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    requested_by     text        NOT NULL,
    request_id       text        NOT NULL,
    request_hash     bytea       NOT NULL,
    UNIQUE (requested_by, request_id),
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CHECK (NOT enabled OR disabled_reason = '')
);
CREATE INDEX webhook_endpoints_owner ON webhook_endpoints (owner_id, created_at);

-- What they are told: one row for each endpoint and event.
CREATE TABLE webhook_messages (
    id           uuid        PRIMARY KEY,
    endpoint_id  uuid        NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    event_id     uuid        NOT NULL,
    booking_id   uuid        NOT NULL,
    -- The booking's: what is about one booking goes out in this order.
    version      bigint      NOT NULL,
    type         text        NOT NULL,
    body         text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED', 'MISSED')),
    due_at       timestamptz,
    -- Counts the takings, and so tells a late sender that another one has taken it since.
    attempts     integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (endpoint_id, event_id),
    CHECK ((state = 'PENDING') = (due_at IS NOT NULL))
);
CREATE INDEX webhook_messages_due ON webhook_messages (due_at) WHERE state = 'PENDING';
CREATE INDEX webhook_messages_order ON webhook_messages (endpoint_id, booking_id, version, id) WHERE state = 'PENDING';
CREATE INDEX webhook_messages_log ON webhook_messages (endpoint_id, created_at DESC, id DESC);
CREATE INDEX webhook_messages_age ON webhook_messages (created_at);

-- Every try.
CREATE TABLE webhook_attempts (
    message_id uuid        NOT NULL REFERENCES webhook_messages (id) ON DELETE CASCADE,
    at         timestamptz NOT NULL DEFAULT now(),
    status     smallint    NOT NULL,
    error      text        NOT NULL,
    millis     integer     NOT NULL
);
CREATE INDEX webhook_attempts_message ON webhook_attempts (message_id, at);
