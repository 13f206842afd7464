-- States of types that other services keep, told through the append API (docs/adr/0011). `ord` counts
-- what was taken, as the log compares it; this is the greatest order that a producer gave with one.
ALTER TABLE type_states ADD COLUMN producer_ord bigint;

-- Append requests that came with an Idempotency-Key, so that a repeated one is answered alike.
CREATE TABLE append_keys (
    user_id      text NOT NULL REFERENCES users ON DELETE CASCADE,
    key          text NOT NULL,
    digest       bytea NOT NULL,                  -- SHA-256 of the request
    not_appended jsonb NOT NULL,                  -- {account: type of error}
    cursor       text,                            -- NULL: not acknowledged by the log yet
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX append_keys_by_age ON append_keys (at);
