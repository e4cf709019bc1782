-- A booking is paid for once, and so is each of its changes that costs more.

ALTER TABLE payments
    -- The change that it is for, as the caller calls it; empty: the booking itself.
    ADD COLUMN purpose text NOT NULL DEFAULT '';
DROP INDEX payments_live;
-- A booking, and each change of it, is charged at most once: this index is the guard.
CREATE UNIQUE INDEX payments_live ON payments (booking_id, purpose)
    WHERE state IN ('PENDING', 'REQUIRES_ACTION', 'AUTHORIZED', 'CAPTURED');
