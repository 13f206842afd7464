CREATE SCHEMA IF NOT EXISTS notes;

-- An account's row is locked by whoever changes its notes. It is the outbox, too: a state stands for
-- all before it, so what the log still lacks is the newest one, where `told` is behind.
CREATE TABLE IF NOT EXISTS notes.accounts (
    id     text PRIMARY KEY,
    modseq bigint NOT NULL DEFAULT 0,             -- counts changes: the state and its order
    told   bigint NOT NULL DEFAULT 0              -- the log is known to have this one
);
CREATE INDEX IF NOT EXISTS accounts_untold ON notes.accounts (id) WHERE told < modseq;

-- A destroyed note stays as a tombstone for Note/changes.
CREATE TABLE IF NOT EXISTS notes.notes (
    account_id text NOT NULL REFERENCES notes.accounts ON DELETE CASCADE,
    id         text NOT NULL,
    title      text,                              -- NULL: destroyed
    body       text,
    created    bigint NOT NULL,                   -- modseq
    modseq     bigint NOT NULL,
    PRIMARY KEY (account_id, id)
);
CREATE INDEX IF NOT EXISTS notes_by_change ON notes.notes (account_id, modseq);
