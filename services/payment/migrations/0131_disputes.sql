-- Charges that customers dispute with their banks, and refunds whose money came back.

CREATE TABLE disputes (
    id          uuid          PRIMARY KEY,
    payment_id  uuid          NOT NULL REFERENCES payments (id),
    -- The provider's own id.
    reference   text          NOT NULL,
    amount      numeric(19,4) NOT NULL CHECK (amount > 0),
    -- What the bank holds of it now. Below zero while it is known that it gave back, and not yet what it took.
    withdrawn   numeric(19,4) NOT NULL,
    currency    char(3)       NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reason      text          NOT NULL,
    -- The provider's word, and what it means.
    status      text          NOT NULL,
    state       text          NOT NULL CHECK (state IN ('OPEN', 'WON', 'LOST', 'CLOSED')),
    evidence_by timestamptz,
    -- When the provider said `status`: what is older changes nothing.
    told_at     timestamptz   NOT NULL,
    created_at  timestamptz   NOT NULL,
    UNIQUE (payment_id, reference)
);
CREATE INDEX disputes_open ON disputes (id) WHERE state = 'OPEN';

-- What is booked of them, each movement once.
CREATE TABLE dispute_movements (
    -- As `ledger_entries.cause`.
    cause      uuid PRIMARY KEY,
    dispute_id uuid NOT NULL REFERENCES disputes (id),
    -- The provider's own id of the movement, or 'loss' or 'recovery'.
    reference  text NOT NULL,
    UNIQUE (dispute_id, reference)
);

ALTER TABLE ledger_entries
    DROP CONSTRAINT ledger_entries_kind_check,
    ADD CONSTRAINT ledger_entries_kind CHECK (kind IN ('capture', 'refund', 'refund_returned', 'dispute_withdrawn',
                                                       'dispute_reinstated', 'dispute_lost', 'dispute_recovered')) NOT VALID;
-- The entries that are there passed a narrower check.
ALTER TABLE ledger_entries VALIDATE CONSTRAINT ledger_entries_kind;
