-- An account that is being removed (docs/adr/0022): nobody sees it or writes to it any more. Its rows go
-- piece by piece; this one stays until nobody can come too late with an event of it.
ALTER TABLE accounts ADD COLUMN removed_at timestamptz,
    ADD COLUMN ended_at timestamptz;              -- the log has its tombstone, its content is erased
CREATE INDEX accounts_removed ON accounts (removed_at) WHERE removed_at IS NOT NULL;
