-- A record is kept as the JSON text that was accepted: jsonb would rewrite its numbers (1e300) and
-- refuse U+0000. Queries do not look inside it; what they need stands in columns beside it.
ALTER TABLE records ALTER COLUMN data TYPE json;

-- Hashes of (account, type, property, value): unique values, containers, words. One array per
-- record and one index serve every filter that asks for a value; a tombstone has none.
ALTER TABLE records ADD COLUMN tags bigint[] NOT NULL DEFAULT '{}';
CREATE INDEX records_by_tag ON records USING gin (tags) WITH (gin_pending_list_limit = 64);

-- Foo/changes answers from this modseq on; older tombstones were trimmed.
ALTER TABLE type_states ADD COLUMN history_from bigint NOT NULL DEFAULT 0;
