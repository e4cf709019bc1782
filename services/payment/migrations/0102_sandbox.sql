-- The sandbox provider's own memory: the other side of the wire. Nothing of ours refers to it.

CREATE TABLE sandbox_intents (
    -- The provider's own id.
    id              uuid          PRIMARY KEY,
    -- The idempotency key that the caller chose.
    key             uuid          NOT NULL UNIQUE,
    amount          numeric(19,4) NOT NULL CHECK (amount > 0),
    currency        char(3)       NOT NULL,
    method          text          NOT NULL,
    manual_capture  boolean       NOT NULL,
    status          text          NOT NULL
        CHECK (status IN ('processing', 'requires_action', 'requires_capture', 'succeeded', 'failed', 'canceled')),
    decline_code    text,
    -- The unguessable end of the page where the customer answers.
    challenge       text          UNIQUE,
    refunded        numeric(19,4) NOT NULL DEFAULT 0 CHECK (refunded BETWEEN 0 AND amount),
    -- When a slow charge is decided.
    settle_at       timestamptz,
    created_at      timestamptz   NOT NULL DEFAULT now(),
    CHECK ((decline_code IS NOT NULL) = (status = 'failed')),
    CHECK ((settle_at IS NOT NULL) = (status = 'processing'))
);
CREATE INDEX sandbox_intents_slow ON sandbox_intents (settle_at) WHERE settle_at IS NOT NULL;

CREATE TABLE sandbox_refunds (
    key        uuid          PRIMARY KEY,
    intent_key uuid          NOT NULL REFERENCES sandbox_intents (key),
    amount     numeric(19,4) NOT NULL CHECK (amount > 0),
    created_at timestamptz   NOT NULL DEFAULT now()
);

-- Webhooks that were not answered with 2xx yet; a delivered one is deleted.
CREATE TABLE sandbox_events (
    id         uuid        PRIMARY KEY,
    body       text        NOT NULL,
    due_at     timestamptz NOT NULL DEFAULT now(),
    attempts   integer     NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sandbox_events_due ON sandbox_events (due_at);
