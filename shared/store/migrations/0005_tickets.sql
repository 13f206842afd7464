-- Tickets let a browser open an event source or a WebSocket, which cannot send a header: short-lived,
-- used once, and only as good as the token that they were given for. Kept as SHA-256 only.
CREATE TABLE tickets (
    hash        bytea PRIMARY KEY,
    token_id    text NOT NULL REFERENCES tokens ON DELETE CASCADE,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX tickets_of_token ON tickets (token_id);
CREATE INDEX tickets_by_expiry ON tickets (expires_at);
