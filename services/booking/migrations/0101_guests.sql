-- Guests who leave one by one, their names, and what was paid for a booking.

ALTER TABLE unit_items
    ADD COLUMN guest_name     text        NOT NULL DEFAULT '',
    ADD COLUMN cancelled_at   timestamptz,
    -- The share of the price that its cancellation gives back; amounts are rounded over all guests together.
    ADD COLUMN refund_percent smallint    NOT NULL DEFAULT 0 CHECK (refund_percent BETWEEN 0 AND 100),
    ADD CONSTRAINT only_who_was_cancelled_gets_money_back CHECK (refund_percent = 0 OR cancelled_at IS NOT NULL);

ALTER TABLE bookings
    -- What was captured for it and not sent back as late.
    ADD COLUMN paid    numeric(19,4) NOT NULL DEFAULT 0,
    -- How many BookingChanged it has told.
    ADD COLUMN changes integer       NOT NULL DEFAULT 0 CHECK (changes >= 0);
UPDATE bookings SET paid = total WHERE confirmed_at IS NOT NULL AND payment_id IS NOT NULL AND NOT pay_on_arrival;
UPDATE unit_items i SET cancelled_at = b.cancelled_at FROM bookings b WHERE b.id = i.booking_id AND b.state = 'CANCELLED';

-- A confirmed booking that lost some of its guests gives money back, too; never more than was paid.
ALTER TABLE bookings
    DROP CONSTRAINT cancelled_says_what_goes_back,
    ADD CONSTRAINT cancelled_says_what_goes_back CHECK (state <> 'CANCELLED' OR refund IS NOT NULL),
    ADD CONSTRAINT only_what_was_paid_goes_back CHECK (paid >= 0 AND coalesce(refund, 0) BETWEEN 0 AND paid),
    ADD CONSTRAINT unsold_gives_nothing_back CHECK (refund IS NULL OR state IN ('CONFIRMED', 'CANCELLED', 'REDEEMED')),
    DROP CONSTRAINT confirmed_is_paid,
    ADD CONSTRAINT confirmed_is_paid
        CHECK (confirmed_at IS NULL OR total = 0 OR pay_on_arrival OR payment_id IS NOT NULL AND paid >= total);
