-- Users, accounts and who may see them (RFC 8620 section 1.6.2).
CREATE TABLE users (
    id          text PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE accounts (
    id          text PRIMARY KEY,
    name        text NOT NULL,
    is_personal boolean NOT NULL,                 -- belongs to the user who holds the grant "owner"
    modseq      bigint NOT NULL DEFAULT 0,        -- counts changes of records; the row lock orders commits
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE grants (
    account_id  text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    role        text NOT NULL CHECK (role IN ('owner', 'write', 'read')),
    PRIMARY KEY (user_id, account_id)
);
CREATE INDEX grants_of_account ON grants (account_id);

-- Bearer tokens: 256 random bits, kept as SHA-256 only.
CREATE TABLE tokens (
    id          text PRIMARY KEY,
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    hash        bytea NOT NULL UNIQUE,
    scopes      text[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);
CREATE INDEX tokens_of_user ON tokens (user_id);

-- The state that Foo/get answers, per account and type (RFC 8620 section 5.1).
CREATE TABLE type_states (
    account_id  text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    type        text NOT NULL,
    state       text NOT NULL,
    ord         bigint NOT NULL,                  -- the event's `order`
    PRIMARY KEY (account_id, type)
);

-- Records of the declared types; a destroyed one stays as a tombstone for Foo/changes.
CREATE TABLE records (
    account_id     text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    type           text NOT NULL,
    id             text NOT NULL,
    created_modseq bigint NOT NULL,
    modseq         bigint NOT NULL,               -- of its last change; one modseq, one record
    data           jsonb,                         -- NULL: destroyed
    PRIMARY KEY (account_id, type, id)
);
CREATE UNIQUE INDEX records_by_change ON records (account_id, type, modseq);

-- What a commit must still append to the log. Ids are not in commit order: never page by id.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id   text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    states       jsonb NOT NULL,                  -- {type: [state, order]}
    cause        jsonb NOT NULL,
    at           timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz,                    -- a sweeper is at it until then
    published_at timestamptz,
    sequence     bigint                           -- of the event that covers it
);
CREATE INDEX outbox_unpublished ON outbox (at) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- What PostgreSQL knows of each stream of the log: enough to see that it was lost or rolled back.
CREATE TABLE logs (
    stream           text PRIMARY KEY,
    epoch            text NOT NULL,
    highest_sequence bigint NOT NULL,             -- ever acknowledged or read, in this epoch
    is_complete      boolean NOT NULL             -- false while the states are being appended anew
);
