-- The holder of a JWT may have tickets too. A JWT is in no table, so the ticket keeps what it said:
-- {"id", "user_id", "user_name", "scopes", "expires_at"}.
ALTER TABLE tickets
    ALTER COLUMN token_id DROP NOT NULL,
    ADD COLUMN jwt jsonb,
    ADD CHECK ((token_id IS NULL) <> (jwt IS NULL));
CREATE INDEX tickets_of_jwt ON tickets ((jwt ->> 'id')) WHERE jwt IS NOT NULL;
