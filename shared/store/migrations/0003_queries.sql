-- What Foo/query compares: sort keys by name, and words in sequence for phrases.
ALTER TABLE records ADD COLUMN sort jsonb NOT NULL DEFAULT '{}';
ALTER TABLE records ADD COLUMN search jsonb NOT NULL DEFAULT '{}';
ALTER TABLE records ADD COLUMN destroyed_at timestamptz;
CREATE INDEX records_destroyed ON records (destroyed_at) WHERE destroyed_at IS NOT NULL;

-- The order of a query without a sort, and of Foo/get without ids.
CREATE INDEX records_by_creation ON records (account_id, type, created_modseq)
    WHERE data IS NOT NULL;

-- One for each sort of RFC 9610 section 3.3.2, as services/dispatcher/methods/query.py writes it.
CREATE INDEX contacts_by_created ON records
    (account_id, ((sort->>'created') COLLATE "C"), created_modseq)
    WHERE type = 'ContactCard' AND data IS NOT NULL;
CREATE INDEX contacts_by_updated ON records
    (account_id, ((sort->>'updated') COLLATE "C"), created_modseq)
    WHERE type = 'ContactCard' AND data IS NOT NULL;
CREATE INDEX contacts_by_given ON records
    (account_id, ((sort->>'name/given') COLLATE "C"), created_modseq)
    WHERE type = 'ContactCard' AND data IS NOT NULL;
CREATE INDEX contacts_by_surname ON records
    (account_id, ((sort->>'name/surname') COLLATE "C"), created_modseq)
    WHERE type = 'ContactCard' AND data IS NOT NULL;
CREATE INDEX contacts_by_surname2 ON records
    (account_id, ((sort->>'name/surname2') COLLATE "C"), created_modseq)
    WHERE type = 'ContactCard' AND data IS NOT NULL;
