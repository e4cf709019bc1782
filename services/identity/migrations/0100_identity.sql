-- People. An e-mail address has one account; the application stores addresses in lower case.
CREATE TABLE users (
    id             uuid        PRIMARY KEY,
    email          text        NOT NULL CONSTRAINT users_email_taken UNIQUE
                               CHECK (octet_length(email) BETWEEN 3 AND 254 AND position('@' IN email) > 1),
    password_hash  text        NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    full_name      text        NOT NULL CHECK (char_length(full_name) BETWEEN 1 AND 200),
    language       text        NOT NULL CHECK (language IN ('en', 'fr')),
    -- Each once, in this order.
    roles          text[]      NOT NULL CHECK (cardinality(roles) BETWEEN 1 AND 3
                                               AND roles <@ ARRAY['traveller', 'supplier', 'staff']),
    supplier_id    uuid,
    created_at     timestamptz NOT NULL DEFAULT now(),
    -- The sign-up that made it. NULL: made by the operator (`tourmesh up`'s demo accounts).
    request_caller text,
    request_id     text,
    -- Of everything but the password, which is compared with its own hash.
    request_hash   bytea       CHECK (octet_length(request_hash) = 32),
    CHECK ((supplier_id IS NOT NULL) = ('supplier' = ANY (roles))),
    CHECK (num_nulls(request_caller, request_id, request_hash) IN (0, 3))
);
CREATE UNIQUE INDEX users_request ON users (request_caller, request_id);

-- A session is what one sign-in began: a chain of refresh tokens.
CREATE TABLE sessions (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz,
    ended_by   text        CHECK (ended_by IN ('sign_out', 'reuse')),
    CHECK (expires_at > created_at),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

-- Every token that a session ever had, so that a second use is recognized. The token itself is nowhere.
CREATE TABLE refresh_tokens (
    hash       bytea       PRIMARY KEY CHECK (octet_length(hash) = 32),
    session_id uuid        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
-- At most one token of a session is good.
CREATE UNIQUE INDEX refresh_tokens_current ON refresh_tokens (session_id) WHERE used_at IS NULL;
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Wrong passwords, counted in windows. The key is 'everywhere', or 'account:' and a hash of the address, so that an
-- address without an account is limited just the same, and no address is kept that nobody signed up with.
CREATE TABLE attempts (
    key      text        PRIMARY KEY,
    failures integer     NOT NULL CHECK (failures > 0),
    ends_at  timestamptz NOT NULL
);
CREATE INDEX attempts_ends ON attempts (ends_at);

-- The keys that access tokens are signed with. A key is published from its creation and signs from active_from, until
-- the next one is active.
CREATE TABLE signing_keys (
    kid         text        PRIMARY KEY,
    -- PKCS#8; sealed when KEY_SECRET was set as it was made.
    private_key bytea       NOT NULL,
    sealed      boolean     NOT NULL,
    -- The public half, base64url (RFC 8037 `x`).
    public_x    text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    active_from timestamptz NOT NULL UNIQUE
);

-- Repeats of changes to existing rows.
CREATE TABLE requests (
    caller     text        NOT NULL,
    method     text        NOT NULL,
    request_id text        NOT NULL,
    hash       bytea       NOT NULL CHECK (octet_length(hash) = 32),
    subject    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);
