-- Waiting lists.
--
-- Lock order: a departure before its entries. Whoever gives seats of a departure back has its row locked, and offers them
-- to who waits in the same transaction; entries that only leave lock nothing else.

CREATE TABLE waiting (
    id               uuid            PRIMARY KEY,
    -- The order of joining. It is drawn under the departure's lock.
    place            bigint          GENERATED ALWAYS AS IDENTITY UNIQUE,
    customer_id      uuid            NOT NULL,
    supplier_id      uuid            NOT NULL,
    tour_id          uuid            NOT NULL,
    departure_id     uuid            NOT NULL,
    -- What an offer is made under: the offer of the catalog as it was when they joined. An offer is made in the
    -- transaction that frees the seats, where nobody can be asked.
    terms_id         uuid            NOT NULL,
    -- What became of an offer is its booking's state.
    state            text            NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'OFFERED', 'LEFT')),
    seats            integer         NOT NULL CHECK (seats > 0),
    currency         char(3)         NOT NULL,
    total            numeric(19,4)   NOT NULL CHECK (total >= 0),
    pay_on_arrival   boolean         NOT NULL,
    -- The guests, one element each.
    units            smallint[]      NOT NULL,
    item_seats       smallint[]      NOT NULL,
    prices           numeric(19,4)[] NOT NULL,
    contact_name     text            NOT NULL,
    contact_email    text            NOT NULL,
    contact_language text            NOT NULL,
    -- How long an offer is held.
    offer_seconds    integer         NOT NULL CHECK (offer_seconds > 0),
    booking_id       uuid            UNIQUE,
    created_at       timestamptz     NOT NULL,
    offered_at       timestamptz,
    CONSTRAINT an_offer_is_a_booking CHECK ((state = 'OFFERED') = (booking_id IS NOT NULL)),
    CONSTRAINT offered_says_when CHECK ((state = 'OFFERED') = (offered_at IS NOT NULL)),
    CONSTRAINT every_guest_is_complete
        CHECK (cardinality(units) = cardinality(item_seats) AND cardinality(units) = cardinality(prices))
);
CREATE UNIQUE INDEX waiting_once ON waiting (customer_id, departure_id) WHERE state = 'WAITING';
CREATE INDEX waiting_line ON waiting (departure_id, place) WHERE state = 'WAITING';
CREATE INDEX waiting_of_customer ON waiting (customer_id, place);
CREATE INDEX waiting_of_supplier ON waiting (supplier_id, place);
CREATE INDEX waiting_of_departure ON waiting (departure_id, place);
