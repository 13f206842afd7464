-- What `tidings explain` must know of the past (docs/adr/0018): who could see what, what a subscription
-- asked for, and how it ended. Triggers write it, so that it is complete whatever program made the change.

-- A grant as it was before each change. Bounded here by number, by the jobs of the dispatchers by age.
CREATE TABLE grant_changes (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id        text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id           text NOT NULL REFERENCES users ON DELETE CASCADE,
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    role_before       text,                       -- NULL: there was no grant
    subscribed_before boolean,
    role_after        text,                       -- NULL: it was removed
    subscribed_after  boolean
);
CREATE INDEX grant_changes_of_grant ON grant_changes (user_id, account_id, id);
CREATE INDEX grant_changes_by_account ON grant_changes (account_id);
CREATE INDEX grant_changes_by_age ON grant_changes (at);

CREATE FUNCTION note_grant_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_account text := coalesce(NEW.account_id, OLD.account_id);
    of_user text := coalesce(NEW.user_id, OLD.user_id);
BEGIN
    INSERT INTO grant_changes
        (account_id, user_id, role_before, subscribed_before, role_after, subscribed_after)
    SELECT of_account, of_user, OLD.role, OLD.is_subscribed, NEW.role, NEW.is_subscribed
    -- What goes with its account or user leaves nothing behind.
    WHERE EXISTS (SELECT FROM accounts WHERE id = of_account)
        AND EXISTS (SELECT FROM users WHERE id = of_user);
    DELETE FROM grant_changes WHERE id IN (
        SELECT id FROM grant_changes WHERE account_id = of_account AND user_id = of_user
        ORDER BY id DESC OFFSET 32 FOR UPDATE SKIP LOCKED);
    RETURN NULL;
END $$;
CREATE TRIGGER grants_noted AFTER INSERT OR DELETE ON grants
    FOR EACH ROW EXECUTE FUNCTION note_grant_change();
CREATE TRIGGER grants_noted_update AFTER UPDATE ON grants FOR EACH ROW
    WHEN (OLD.role <> NEW.role OR OLD.is_subscribed <> NEW.is_subscribed)
    EXECUTE FUNCTION note_grant_change();

-- The types that a subscription asked for before each change.
CREATE TABLE push_subscription_types (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id text NOT NULL REFERENCES push_subscriptions ON DELETE CASCADE,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    types_before    text[]                        -- NULL: all
);
CREATE INDEX push_subscription_types_of ON push_subscription_types (subscription_id, id);

CREATE FUNCTION note_types_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO push_subscription_types (subscription_id, types_before) VALUES (OLD.id, OLD.types);
    DELETE FROM push_subscription_types WHERE id IN (
        SELECT id FROM push_subscription_types WHERE subscription_id = OLD.id
        ORDER BY id DESC OFFSET 16 FOR UPDATE SKIP LOCKED);
    RETURN NULL;
END $$;
CREATE TRIGGER push_subscription_types_noted AFTER UPDATE OF types ON push_subscriptions FOR EACH ROW
    WHEN (OLD.types IS DISTINCT FROM NEW.types) EXECUTE FUNCTION note_types_change();

-- Subscriptions that are no more: nothing of their URL, keys or code.
CREATE TABLE ended_push_subscriptions (
    id          text PRIMARY KEY,
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    types       text[],
    created_at  timestamptz NOT NULL,
    verified_at timestamptz,
    ended_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    because     text NOT NULL,
    cursor      bigint                            -- all of the log up to there was told
);
CREATE INDEX ended_push_subscriptions_of_user ON ended_push_subscriptions (user_id, ended_at);
CREATE INDEX ended_push_subscriptions_by_age ON ended_push_subscriptions (ended_at);

CREATE FUNCTION note_subscription_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ended_push_subscriptions (id, user_id, types, created_at, verified_at, because, cursor)
    SELECT OLD.id, OLD.user_id, OLD.types, OLD.created_at, OLD.verified_at,
        CASE
            WHEN EXISTS (SELECT FROM tokens WHERE id = OLD.token_id AND revoked_at IS NOT NULL)
                THEN 'credential_revoked'
            WHEN EXISTS (SELECT FROM tokens WHERE id = OLD.token_id AND expires_at <= now())
                THEN 'credential_expired'
            WHEN OLD.ends_at <= now() THEN 'expired'
            WHEN EXISTS (SELECT FROM vapid_keys WHERE id = OLD.vapid_key_id AND retires_at <= now())
                THEN 'key_retired'
            -- Whoever deletes says why; an older program does not.
            ELSE coalesce(nullif(current_setting('tidings.ended_because', true), ''), 'unknown')
        END,
        (SELECT cursor FROM lanes WHERE subscription_id = OLD.id)
    WHERE EXISTS (SELECT FROM users WHERE id = OLD.user_id)
    ON CONFLICT (id) DO NOTHING;
    DELETE FROM ended_push_subscriptions WHERE id IN (
        SELECT id FROM ended_push_subscriptions WHERE user_id = OLD.user_id
        ORDER BY ended_at DESC OFFSET 100 FOR UPDATE SKIP LOCKED);
    RETURN OLD;
END $$;
CREATE TRIGGER push_subscriptions_end_noted BEFORE DELETE ON push_subscriptions
    FOR EACH ROW EXECUTE FUNCTION note_subscription_end();

-- Why a lane waits until `not_before`; NULL: it does not, or an older program did not say.
ALTER TABLE lanes ADD COLUMN waits_for text;
-- What the endpoint asked for.
ALTER TABLE delivery_attempts ADD COLUMN retry_after_seconds integer;
