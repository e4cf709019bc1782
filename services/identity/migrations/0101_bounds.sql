-- How often a session was refreshed: each time leaves a row in refresh_tokens, so it is bounded.
ALTER TABLE sessions ADD COLUMN refreshes integer NOT NULL DEFAULT 0 CHECK (refreshes >= 0);

-- For pruning.
CREATE INDEX requests_age ON requests (created_at);
