-- Waiting for any departure of a tour.
--
-- Lock order as before: a departure before its entries. Entries that wait for a tour are locked after those of one
-- departure, in the order of their places, whichever departure has the seats.

ALTER TABLE waiting
    -- It waits for whatever departure of the tour has seats first; which one that was is known once it is offered.
    ADD COLUMN tour_wide boolean NOT NULL DEFAULT false,
    -- The dates, in the tour's own time, on which it may start; null: any.
    ADD COLUMN from_date date,
    ADD COLUMN to_date   date,
    ALTER COLUMN departure_id DROP NOT NULL,
    ALTER COLUMN terms_id DROP NOT NULL,
    ALTER COLUMN seats DROP NOT NULL,
    ALTER COLUMN currency DROP NOT NULL,
    ALTER COLUMN total DROP NOT NULL,
    ALTER COLUMN pay_on_arrival DROP NOT NULL,
    ALTER COLUMN item_seats DROP NOT NULL,
    ALTER COLUMN prices DROP NOT NULL,
    ADD CONSTRAINT priced_as_a_whole CHECK (
        num_nonnulls(departure_id, terms_id, seats, currency, total, pay_on_arrival, item_seats, prices) IN (0, 8)),
    ADD CONSTRAINT only_a_tour_is_not_priced_yet CHECK (departure_id IS NOT NULL OR tour_wide AND state <> 'OFFERED'),
    ADD CONSTRAINT only_a_tour_has_dates CHECK (tour_wide OR num_nonnulls(from_date, to_date) = 0),
    ADD CONSTRAINT dates_in_order CHECK (from_date <= to_date);
CREATE UNIQUE INDEX waiting_once_for_a_tour ON waiting (customer_id, tour_id) WHERE state = 'WAITING' AND tour_wide;
CREATE INDEX waiting_for_tours ON waiting (tour_id) WHERE state = 'WAITING' AND tour_wide;
CREATE INDEX departures_of_tour ON departures (tour_id, starts_at);

-- What an offer of each departure would be, for those who wait for a tour: an offer is made in the transaction that
-- frees the seats, where nobody can be asked. Gone when the entry waits no longer.
CREATE TABLE chances (
    waiting_id     uuid            NOT NULL,
    departure_id   uuid            NOT NULL,
    -- Null, as all that follows: the departure is not for this party.
    terms_id       uuid,
    seats          integer         CHECK (seats > 0),
    currency       char(3),
    total          numeric(19,4)   CHECK (total >= 0),
    pay_on_arrival boolean,
    item_seats     smallint[],
    prices         numeric(19,4)[],
    taxes          numeric(19,4)[],
    PRIMARY KEY (waiting_id, departure_id),
    CONSTRAINT priced_as_a_whole
        CHECK (num_nonnulls(terms_id, seats, currency, total, pay_on_arrival, item_seats, prices, taxes) IN (0, 8))
);
CREATE INDEX chances_of_departure ON chances (departure_id) WHERE seats IS NOT NULL;
