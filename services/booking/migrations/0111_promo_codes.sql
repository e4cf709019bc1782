-- Promo codes.
--
-- Lock order: bookings before promo codes (by id) before departures. Whoever takes or gives back a use has the code's row
-- locked; it guards its customers' rows.

CREATE TABLE promo_codes (
    id                    uuid          PRIMARY KEY,
    -- NULL: of the platform, for all suppliers.
    supplier_id           uuid,
    code                  text          NOT NULL CHECK (code ~ '^[A-Z0-9_-]{3,40}$'),
    -- Only these; none: all.
    tours                 uuid[]        NOT NULL DEFAULT '{}',
    -- One of the three.
    percent               numeric(7,4)  CHECK (percent > 0 AND percent <= 100),
    amount                numeric(19,4) CHECK (amount > 0),
    amount_per_unit       numeric(19,4) CHECK (amount_per_unit > 0),
    -- Of the amounts.
    currency              char(3),
    book_from             timestamptz,
    -- Exclusive.
    book_until            timestamptz,
    -- Local dates, both inclusive.
    depart_from           date,
    depart_until          date,
    max_uses              integer       CHECK (max_uses > 0),
    max_uses_per_customer integer       CHECK (max_uses_per_customer > 0),
    -- The bookings that are held with it, or were sold with it.
    uses                  integer       NOT NULL DEFAULT 0,
    created_at            timestamptz   NOT NULL,
    ended_at              timestamptz,
    CONSTRAINT never_overused CHECK (uses BETWEEN 0 AND coalesce(max_uses, 2147483647)),
    CONSTRAINT gives_one_thing CHECK (num_nonnulls(percent, amount, amount_per_unit) = 1),
    CONSTRAINT amounts_have_a_currency CHECK ((percent IS NULL) = (currency IS NOT NULL)),
    CHECK (book_until > book_from),
    CHECK (depart_until >= depart_from)
) WITH (fillfactor = 50);
-- The text of a code is free again once it is ended.
CREATE UNIQUE INDEX promo_codes_taken
    ON promo_codes (code, coalesce(supplier_id, '00000000-0000-0000-0000-000000000000')) WHERE ended_at IS NULL;
CREATE INDEX promo_codes_by_code ON promo_codes (code, id);
CREATE INDEX promo_codes_of_supplier ON promo_codes (supplier_id, id);

-- How often a customer uses a code that limits that.
CREATE TABLE promo_customers (
    promo_id    uuid    NOT NULL,
    customer_id uuid    NOT NULL,
    uses        integer NOT NULL,
    -- The code's limit.
    most        integer NOT NULL,
    PRIMARY KEY (promo_id, customer_id),
    CONSTRAINT never_overused_by_a_customer CHECK (uses BETWEEN 0 AND most)
) WITH (fillfactor = 50);

ALTER TABLE bookings ADD COLUMN promo_id uuid;
