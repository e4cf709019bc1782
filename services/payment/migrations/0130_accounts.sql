-- Accounts for taxes, customers and refunds.

ALTER TABLE payments
    -- The part of `amount` that is taxes. Payments from before this step have none, and so have their refunds.
    ADD COLUMN tax numeric(19,4) NOT NULL DEFAULT 0,
    ADD CONSTRAINT payments_tax CHECK (tax BETWEEN 0 AND amount);

-- That nothing is booked twice is told by `ledger_entries_once`, whose rows are the same but for the transaction's id; six
-- entries a capture need not be told so in two indexes.
ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_seq;
