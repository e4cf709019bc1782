-- Refunds that the provider refuses or never answers come to an end that people see.

ALTER TABLE refunds
    -- Asked for so often, or refused for good: nothing happens by itself any more.
    ADD COLUMN given_up_at timestamptz,
    -- The provider has said that it was not done, so that it may be done anew.
    ADD COLUMN refused boolean NOT NULL DEFAULT false,
    -- How often it was refused and then wanted again by people; each is a work of its own for the provider.
    ADD COLUMN attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Asks without an answer since it was last wanted.
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT refunds_watched,
    ADD CONSTRAINT refunds_watched CHECK ((settled_at IS NULL AND given_up_at IS NULL) = (check_at IS NOT NULL));
CREATE INDEX refunds_given_up ON refunds (id) WHERE given_up_at IS NOT NULL;

-- Authorizations from before this step are looked after as well.
UPDATE payments SET check_at = created_at + interval '4 days' WHERE state = 'AUTHORIZED' AND check_at IS NULL;
