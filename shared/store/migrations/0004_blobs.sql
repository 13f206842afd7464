-- Binary data (RFC 8620 section 6, RFC 9404). A small blob is in its row, a larger one in pieces.
CREATE TABLE blobs (
    account_id  text NOT NULL REFERENCES accounts ON DELETE CASCADE,
    id          text NOT NULL,
    user_id     text REFERENCES users ON DELETE SET NULL,  -- alone sees it until it is referenced
    size        bigint NOT NULL,
    type        text,
    content     bytea,                            -- NULL: in blob_pieces
    is_complete boolean NOT NULL DEFAULT true,    -- false while it is being uploaded
    created_at  timestamptz NOT NULL DEFAULT now(),
    unused_at   timestamptz DEFAULT now(),        -- found without a reference; NULL: has one
    PRIMARY KEY (account_id, id)
);
CREATE INDEX blobs_unused ON blobs (unused_at) WHERE unused_at IS NOT NULL;
CREATE INDEX blobs_of_user ON blobs (account_id, user_id, created_at);

CREATE TABLE blob_pieces (
    account_id  text NOT NULL,
    blob_id     text NOT NULL,
    place       bigint NOT NULL,                  -- offset of its first octet
    content     bytea NOT NULL,
    PRIMARY KEY (account_id, blob_id, place),
    FOREIGN KEY (account_id, blob_id) REFERENCES blobs ON DELETE CASCADE
);
ALTER TABLE blob_pieces ALTER COLUMN content SET STORAGE EXTERNAL;
