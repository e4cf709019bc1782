-- For pruning.
CREATE INDEX requests_age ON requests (created_at);
