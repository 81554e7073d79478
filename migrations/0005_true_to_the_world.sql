-- What real providers and receivers do: items that could not be read, sinks that were refused, whose clock said so.

-- Items of a provider's answers of which nothing could be told: each may be a message. On record until a later poll of
-- the same range has read everything.
CREATE TABLE unreadable_messages (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (id),
    items INTEGER NOT NULL,
    looks TEXT NOT NULL,            -- how the first of them looks, in our own words
    low INTEGER,                    -- provider's clock: read from here on; null: from the beginning
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
);
ALTER TABLE walks ADD COLUMN unreadable INTEGER NOT NULL DEFAULT 0;  -- such items on the pages read so far

-- The same of a folder of an inbox: each may be a conversation.
CREATE TABLE unreadable_rows (
    account INTEGER NOT NULL REFERENCES accounts (id),
    folder TEXT NOT NULL,
    items INTEGER NOT NULL,
    looks TEXT NOT NULL,
    low INTEGER,                    -- provider's clock: listed from here on; null: whole
    reach INTEGER,                  -- provider's clock: above this activity; null: anywhere
    page INTEGER NOT NULL,          -- pages listed until it was met
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;
