-- Bookings that move to another departure.

ALTER TABLE bookings
    -- The part of `refund` that goes back because other departures cost less.
    ADD COLUMN returned     numeric(19,4) NOT NULL DEFAULT 0,
    -- The most that a cancellation by the traveller gives back, in percent: what a late move forfeited stays forfeited.
    ADD COLUMN refund_limit smallint      NOT NULL DEFAULT 100 CHECK (refund_limit BETWEEN 0 AND 100),
    -- How many BookingRescheduled it has told.
    ADD COLUMN moves        integer       NOT NULL DEFAULT 0 CHECK (moves >= 0),
    ADD CONSTRAINT returned_is_refunded CHECK (returned BETWEEN 0 AND coalesce(refund, 0)),
    ADD CONSTRAINT only_what_was_moved_is_returned CHECK (returned = 0 OR moves > 0),
    -- What goes back never was more than what it cost; now that it can cost less than it did, what was paid is the limit
    -- (only_what_was_paid_goes_back).
    DROP CONSTRAINT bookings_check;

ALTER TABLE refund_tasks
    DROP CONSTRAINT refund_tasks_cause_check,
    -- MOVED: the booking costs less where it was moved to.
    ADD CONSTRAINT refund_tasks_cause_check CHECK (cause IN ('LATE', 'CANCELLED', 'MOVED'));
