-- Moves that cost more: they hold seats until they are paid for.
--
-- Lock order: a booking before its moves, its moves before departures.

CREATE TABLE moves (
    id           uuid            PRIMARY KEY,
    booking_id   uuid            NOT NULL,
    customer_id  uuid            NOT NULL,
    -- Where to. While the move is OPEN its seats count among those that the departure has held.
    departure_id uuid            NOT NULL,
    terms_id     uuid            NOT NULL,
    state        text            NOT NULL CHECK (state IN ('OPEN', 'DONE', 'FAILED', 'EXPIRED', 'CANCELLED')),
    seats        integer         NOT NULL CHECK (seats > 0),
    currency     char(3)         NOT NULL,
    difference   numeric(19,4)   NOT NULL CHECK (difference > 0),
    refund_limit smallint        NOT NULL CHECK (refund_limit BETWEEN 0 AND 100),
    -- What each guest takes and costs there, by unit, one element each.
    units        smallint[]      NOT NULL,
    item_seats   smallint[]      NOT NULL,
    prices       numeric(19,4)[] NOT NULL,
    discounts    numeric(19,4)[] NOT NULL,
    -- The taxes of the first guest, of the second, and so on.
    taxes        numeric(19,4)[] NOT NULL,
    payment_id   uuid,
    created_at   timestamptz     NOT NULL,
    expires_at   timestamptz     NOT NULL,
    ended_at     timestamptz,
    CONSTRAINT ended_says_when CHECK ((state = 'OPEN') = (ended_at IS NULL)),
    CONSTRAINT done_is_paid CHECK (state <> 'DONE' OR payment_id IS NOT NULL),
    CONSTRAINT every_guest_is_complete
        CHECK (cardinality(units) = cardinality(item_seats) AND cardinality(units) = cardinality(prices)
               AND cardinality(units) = cardinality(discounts) AND cardinality(taxes) % cardinality(units) = 0)
);
-- A booking goes one way at a time.
CREATE UNIQUE INDEX moves_open ON moves (booking_id) WHERE state = 'OPEN';
CREATE INDEX moves_of_booking ON moves (booking_id);
CREATE INDEX moves_due ON moves (expires_at) WHERE state = 'OPEN';
CREATE INDEX moves_to ON moves (departure_id) WHERE state = 'OPEN';
