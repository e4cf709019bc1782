-- For pruning. Times come in order, so the index grows at its end and costs the hot path next to nothing.
CREATE INDEX requests_age ON requests (created_at);
