-- Whether the user is subscribed to any record of the account (RFC 9670 section 1.4): an account of
-- somebody else of which nothing is subscribed to is neither in the session nor pushed.
ALTER TABLE grants ADD COLUMN is_subscribed boolean NOT NULL DEFAULT true;
