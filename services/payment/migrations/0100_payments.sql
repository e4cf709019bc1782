-- Payments, refunds and what makes repeats of either harmless.

CREATE TABLE payments (
    id                 uuid          PRIMARY KEY,
    booking_id         uuid          NOT NULL,
    customer_id        uuid          NOT NULL,
    supplier_id        uuid          NOT NULL,
    state              text          NOT NULL,
    amount             numeric(19,4) NOT NULL,
    captured           numeric(19,4) NOT NULL DEFAULT 0,
    -- Reserved for refunds, whether the provider has confirmed them or not.
    refunded           numeric(19,4) NOT NULL DEFAULT 0,
    -- The part of `refunded` that the provider has confirmed, and that the ledger shows.
    returned           numeric(19,4) NOT NULL DEFAULT 0,
    -- The platform's part of `captured`, frozen at capture so that refunds reverse it exactly.
    commission         numeric(19,4) NOT NULL DEFAULT 0,
    currency           char(3)       NOT NULL,
    provider           text          NOT NULL,
    provider_reference text,
    -- The provider's token: needed to ask again with the same key after a crash.
    payment_method     text          NOT NULL,
    return_url         text          NOT NULL,
    manual_capture     boolean       NOT NULL,
    -- CapturePayment was called; the provider is asked until it has captured.
    capture_wanted     boolean       NOT NULL DEFAULT false,
    next_action_url    text,
    decline_code       text,
    caller             text          NOT NULL,
    request_id         text          NOT NULL,
    request_hash       bytea         NOT NULL,
    -- When the reconciler looks at it next; null: nothing is open.
    check_at           timestamptz,
    checks             integer       NOT NULL DEFAULT 0,
    created_at         timestamptz   NOT NULL,
    captured_at        timestamptz,
    version            bigint        NOT NULL DEFAULT 1,
    CONSTRAINT payments_state CHECK (state IN ('PENDING', 'REQUIRES_ACTION', 'AUTHORIZED', 'CAPTURED', 'FAILED', 'CANCELLED')),
    CONSTRAINT payments_currency CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payments_amount CHECK (amount > 0),
    CONSTRAINT payments_captured CHECK (captured = CASE state WHEN 'CAPTURED' THEN amount ELSE 0 END),
    CONSTRAINT payments_captured_at CHECK ((captured_at IS NOT NULL) = (state = 'CAPTURED')),
    CONSTRAINT payments_refunded CHECK (refunded BETWEEN 0 AND captured),
    CONSTRAINT payments_returned CHECK (returned BETWEEN 0 AND refunded),
    CONSTRAINT payments_commission CHECK (commission BETWEEN 0 AND captured),
    CONSTRAINT payments_next_action CHECK (next_action_url IS NULL OR state = 'REQUIRES_ACTION'),
    CONSTRAINT payments_decline CHECK ((decline_code IS NOT NULL) = (state = 'FAILED')),
    -- What may still move is looked at again.
    CONSTRAINT payments_watched CHECK (check_at IS NOT NULL OR state NOT IN ('PENDING', 'REQUIRES_ACTION'))
);
CREATE UNIQUE INDEX payments_request ON payments (caller, request_id);
-- A booking is charged at most once: this index is the guard.
CREATE UNIQUE INDEX payments_live ON payments (booking_id)
    WHERE state IN ('PENDING', 'REQUIRES_ACTION', 'AUTHORIZED', 'CAPTURED');
CREATE UNIQUE INDEX payments_reference ON payments (provider, provider_reference) WHERE provider_reference IS NOT NULL;
CREATE INDEX payments_due ON payments (check_at) WHERE check_at IS NOT NULL;

CREATE TABLE refunds (
    id           uuid          PRIMARY KEY,
    payment_id   uuid          NOT NULL REFERENCES payments (id),
    amount       numeric(19,4) NOT NULL CHECK (amount > 0),
    reason       text          NOT NULL,
    caller       text          NOT NULL,
    request_id   text          NOT NULL,
    request_hash bytea         NOT NULL,
    settled_at   timestamptz,
    check_at     timestamptz,
    -- How often the reconciler has asked again, and what the provider said last when it was not yes.
    attempts     integer       NOT NULL DEFAULT 0,
    last_problem text,
    created_at   timestamptz   NOT NULL,
    CONSTRAINT refunds_watched CHECK ((settled_at IS NULL) = (check_at IS NOT NULL))
);
CREATE UNIQUE INDEX refunds_request ON refunds (caller, request_id);
CREATE INDEX refunds_payment ON refunds (payment_id);
CREATE INDEX refunds_due ON refunds (check_at) WHERE check_at IS NOT NULL;

-- Requests that changed a payment that was there already.
CREATE TABLE requests (
    caller     text        NOT NULL,
    method     text        NOT NULL,
    request_id text        NOT NULL,
    hash       bytea       NOT NULL,
    subject    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);

-- Provider events that were taken in. Written in the transaction of the effect.
CREATE TABLE provider_events (
    provider    text        NOT NULL,
    event_id    text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, event_id)
);
CREATE INDEX provider_events_received ON provider_events (received_at);
