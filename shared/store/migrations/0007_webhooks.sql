-- The keys that sign webhooks (RFC 8292, RFC 9749). One is active; a rotated one goes on signing for
-- the subscriptions that were made under it, until it retires and they end with it.
CREATE TABLE vapid_keys (
    id             text PRIMARY KEY,
    public_key     bytea NOT NULL,                -- 65 octets: an uncompressed point of P-256
    sealed_private bytea,                         -- NULL: destroyed
    created_at     timestamptz NOT NULL DEFAULT now(),
    retires_at     timestamptz                    -- NULL: active
);
CREATE UNIQUE INDEX vapid_keys_active ON vapid_keys ((true)) WHERE retires_at IS NULL;

-- PushSubscriptions (RFC 8620 section 7.2). They belong to the credential that made them.
CREATE TABLE push_subscriptions (
    id               text PRIMARY KEY,
    user_id          text NOT NULL REFERENCES users ON DELETE CASCADE,
    credential_id    text NOT NULL,
    token_id         text REFERENCES tokens ON DELETE CASCADE,  -- NULL: a JWT, which is in no table
    device_client_id text NOT NULL,
    vapid_key_id     text NOT NULL REFERENCES vapid_keys,
    origin           text NOT NULL,               -- keyed hash of the URL's origin
    sealed           bytea NOT NULL,              -- URL, keys and code, under the key below
    has_keys         boolean NOT NULL,            -- everything sent is encrypted
    types            text[],                      -- NULL: all
    expires_at       timestamptz,                 -- what the client is told
    ends_at          timestamptz NOT NULL,        -- nothing is sent from here on: also the credential's end
    created_at       timestamptz NOT NULL DEFAULT now(),
    verification_started_at timestamptz,          -- set before the PushVerification, which is sent once
    verified_at      timestamptz,
    code_given_at    timestamptz                  -- the client sent the code back: it is shown then
);
CREATE INDEX push_subscriptions_of_credential ON push_subscriptions (credential_id);
CREATE INDEX push_subscriptions_of_user ON push_subscriptions (user_id);
CREATE INDEX push_subscriptions_by_token ON push_subscriptions (token_id);
CREATE INDEX push_subscriptions_by_vapid_key ON push_subscriptions (vapid_key_id);
CREATE INDEX push_subscriptions_by_end ON push_subscriptions (ends_at);
CREATE INDEX push_subscriptions_unasked ON push_subscriptions (created_at)
    WHERE verification_started_at IS NULL;

-- How many subscriptions each user may still create now; it fills up again with time.
CREATE TABLE push_creations (
    user_id    text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    allowance  double precision NOT NULL,
    counted_at timestamptz NOT NULL
);

-- One small secret per subscription, so that its end is the end of what it sealed.
CREATE TABLE push_subscription_keys (
    subscription_id text PRIMARY KEY REFERENCES push_subscriptions ON DELETE CASCADE,
    wrapped         bytea NOT NULL                -- under TIDINGS_SECRET_KEY
);

-- How far each subscription was told, and when somebody should look at it next (docs/adr/0009).
CREATE TABLE lanes (
    subscription_id text PRIMARY KEY REFERENCES push_subscriptions ON DELETE CASCADE,
    origin          text NOT NULL,
    cursor          bigint NOT NULL,              -- all of the log up to this sequence was told
    told            jsonb NOT NULL DEFAULT '{}',  -- {account: sequence} told beyond the cursor
    target          bigint NOT NULL,              -- of the newest event that concerns it
    behind_since    timestamptz,                  -- NULL: everything was told
    due_at          timestamptz,                  -- look at it then; while leased: the lease's end
    lease           text,                         -- who looks at it
    is_open         boolean NOT NULL DEFAULT false, -- verified; here, so that a merge sees it locked
    not_before      timestamptz,                  -- backoff, Retry-After, coalescing window
    window_ms       integer NOT NULL DEFAULT 0,   -- least time between two messages
    failures        integer NOT NULL DEFAULT 0,   -- in a row
    failing_since   timestamptz,
    paused_at       timestamptz,                  -- by an operator
    attempts        bigint NOT NULL DEFAULT 1     -- ever made; the first is the PushVerification
) WITH (fillfactor = 70);
CREATE INDEX lanes_due ON lanes (due_at) WHERE due_at IS NOT NULL AND failures = 0;
CREATE INDEX lanes_due_troubled ON lanes (due_at) WHERE due_at IS NOT NULL AND failures > 0;

-- The last attempts of each lane.
CREATE TABLE delivery_attempts (
    subscription_id text NOT NULL REFERENCES push_subscriptions ON DELETE CASCADE,
    place           integer NOT NULL,             -- in the ring; 0: the PushVerification
    at              timestamptz NOT NULL,
    kind            text NOT NULL,                -- verification, push, probe
    outcome         text NOT NULL,
    status          integer,
    milliseconds    integer NOT NULL,
    cursor          bigint NOT NULL,              -- what it would have told
    sealed_answer   bytea,                        -- its first octets, under the subscription's key
    PRIMARY KEY (subscription_id, place)
) WITH (fillfactor = 70);
