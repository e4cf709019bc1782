-- What several tours of a supplier share, and how many holds a customer may have.

-- kind: 1 guide, 2 vehicle, 3 equipment, 4 room, 5 other (as in the API).
CREATE TABLE resource_pools (
    id           uuid        PRIMARY KEY,
    supplier_id  uuid        NOT NULL REFERENCES suppliers,
    name         text        NOT NULL CHECK (name <> ''),
    kind         smallint    NOT NULL CHECK (kind BETWEEN 1 AND 5),
    capacity     integer     NOT NULL CHECK (capacity BETWEEN 0 AND 1000000),
    slot_minutes integer     NOT NULL CHECK (slot_minutes BETWEEN 5 AND 1440 AND 1440 % slot_minutes = 0),
    version      bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at   timestamptz NOT NULL
);
CREATE INDEX resource_pools_of_supplier ON resource_pools (supplier_id, created_at, id);
CREATE INDEX resource_pools_by_age ON resource_pools (created_at, id);

ALTER TABLE options
    -- [{"pool": "…", "units": 1, "seats": 12}]
    ADD COLUMN pools          jsonb   NOT NULL DEFAULT '[]' CHECK (jsonb_array_length(pools) <= 10),
    -- 0: the platform's limit.
    ADD COLUMN max_open_holds integer NOT NULL DEFAULT 0 CHECK (max_open_holds BETWEEN 0 AND 1000);
