-- Which taxes the departures of a country's tours are under, by local date.

-- One row for each country that ever had a rule: locked by whoever changes its rules, so that two rules that may not
-- count at the same time never meet unseen.
CREATE TABLE tax_countries (
    country text   PRIMARY KEY CHECK (country ~ '^[A-Z]{2}$'),
    changes bigint NOT NULL CHECK (changes > 0)
);

CREATE TABLE tax_rules (
    id          uuid         PRIMARY KEY,
    country     text         NOT NULL REFERENCES tax_countries,
    name        text         NOT NULL CHECK (name <> ''),
    percent     numeric(7,4) NOT NULL CHECK (percent BETWEEN 0 AND 100),
    -- It is in the prices; otherwise it comes on top.
    included    boolean      NOT NULL,
    -- Local dates of departures, both included; NULL: no bound.
    valid_from  date,
    valid_until date,
    created_at  timestamptz  NOT NULL,
    -- Nothing that bookings were made under is ever forgotten.
    deleted_at  timestamptz,
    CHECK (valid_until >= valid_from)
);
CREATE INDEX tax_rules_of_country ON tax_rules (country, created_at, id) WHERE deleted_at IS NULL;
