-- The double-entry ledger: append-only, and balanced per transaction and currency.

CREATE TABLE ledger_entries (
    entry          bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id uuid          NOT NULL,
    seq            smallint      NOT NULL,
    account        text          NOT NULL,
    -- Positive: debit; negative: credit.
    amount         numeric(19,4) NOT NULL CHECK (amount <> 0),
    currency       char(3)       NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payment_id     uuid          NOT NULL REFERENCES payments (id),
    kind           text          NOT NULL CHECK (kind IN ('capture', 'refund')),
    -- What it books: the payment of a capture, the refund of a refund. Nothing is booked twice.
    cause          uuid          NOT NULL,
    booked_at      timestamptz   NOT NULL,
    CONSTRAINT ledger_entries_seq UNIQUE (transaction_id, seq),
    CONSTRAINT ledger_entries_once UNIQUE (cause, kind, seq)
);
CREATE INDEX ledger_entries_account ON ledger_entries (account, currency);
CREATE INDEX ledger_entries_payment ON ledger_entries (payment_id, entry);

-- The entries of a transaction are written by one statement, which must balance by itself. That is stricter than a
-- deferred check per row, and is one aggregate for a batch of hundreds of captures.
CREATE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unbalanced record;
BEGIN
    SELECT transaction_id, currency, sum(amount) AS off INTO unbalanced
        FROM written GROUP BY transaction_id, currency HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger transaction % is off by % %', unbalanced.transaction_id, unbalanced.off, unbalanced.currency
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_balanced', TABLE = 'ledger_entries';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER ledger_balanced AFTER INSERT ON ledger_entries
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger_balanced();

CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are never changed or deleted; book a reversal'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'ledger_append_only', TABLE = 'ledger_entries';
END
$$;
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
