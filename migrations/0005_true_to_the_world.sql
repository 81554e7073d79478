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
ALTER TABLE sinks ADD COLUMN dead_since INTEGER;    -- when its first dead delivery was told; null: it has none, or none was told

-- The youngest activity of the first complete sweep over a folder, by the provider's clock: what no sweep before listed is new from
-- there on. Of sweeps from before this column, what they have noticed by now serves as well.
ALTER TABLE sweeps ADD COLUMN first_activity INTEGER;
UPDATE sweeps SET first_activity = coalesce(activity, (SELECT max(o.activity) FROM sweeps o WHERE o.account = sweeps.account))
    WHERE first_swept_at IS NOT NULL;
-- Parts of an inbox that are there and not listed.
CREATE TABLE left_out_folders (
    account INTEGER NOT NULL REFERENCES accounts (id),
    folder TEXT NOT NULL,
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;

-- What the provider says is left of the credits.
ALTER TABLE accounts ADD COLUMN credits_left INTEGER;       -- null: it does not say
ALTER TABLE accounts ADD COLUMN credits_left_at INTEGER;
ALTER TABLE accounts ADD COLUMN credits_low_since INTEGER;  -- null: it is enough for a day

-- By which road of the provider an account is read; empty: the usual one, as all were before.
ALTER TABLE accounts ADD COLUMN channel TEXT NOT NULL DEFAULT '';
