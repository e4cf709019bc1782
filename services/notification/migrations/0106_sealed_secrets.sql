-- The secrets of webhooks are sealed by the role; what was plain is sealed by it when it runs.

ALTER TABLE webhook_endpoints
    -- Both secrets are sealed.
    ADD COLUMN sealed boolean NOT NULL DEFAULT false,
    -- A seal is 28 bytes more: a nonce and a tag.
    DROP CONSTRAINT webhook_endpoints_secret_check,
    ADD CONSTRAINT webhook_endpoints_secret CHECK (length(secret) BETWEEN 24 AND 128);
CREATE INDEX webhook_endpoints_plain ON webhook_endpoints (id) WHERE NOT sealed;
