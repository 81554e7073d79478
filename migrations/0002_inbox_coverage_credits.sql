-- Conversations may come from the inbox or from a command, not from the configuration alone.
ALTER TABLE conversations ADD COLUMN follow TEXT NOT NULL DEFAULT 'none';
    -- pinned: the configuration lists it; stored: a command follows it; discovered: the inbox lists it;
    -- none: nobody does any more; unfollowed: a command said so, and discovery leaves it alone
UPDATE conversations SET follow = CASE followed WHEN 1 THEN 'pinned' ELSE 'none' END;
ALTER TABLE conversations DROP COLUMN followed;
ALTER TABLE conversations ADD COLUMN address TEXT;           -- how the provider wants to be asked for it
ALTER TABLE conversations ADD COLUMN person_url TEXT;
ALTER TABLE conversations ADD COLUMN line INTEGER;           -- provider's clock: first contact announces what is younger
ALTER TABLE conversations ADD COLUMN mark TEXT;              -- of the last activity whose messages are recorded
ALTER TABLE conversations ADD COLUMN max_interval INTEGER;   -- milliseconds: unverified for longer is stale
-- Where the configuration names a conversation by the person alone, the inbox finds it by that.
CREATE INDEX conversations_pinned_person ON conversations (account, person_url) WHERE follow = 'pinned';

ALTER TABLE accounts ADD COLUMN configured INTEGER NOT NULL DEFAULT 1;  -- 0: no longer named; what is known of it is kept
ALTER TABLE accounts ADD COLUMN discovers INTEGER NOT NULL DEFAULT 0;   -- 1: follows whatever its inbox lists

ALTER TABLE walks ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE walks ADD COLUMN route TEXT NOT NULL DEFAULT 'poll';
UPDATE walks SET route = 'backfill' WHERE backfill;
ALTER TABLE walks ADD COLUMN proved_until INTEGER;           -- what its pages prove, the weakest of them; null: nothing
ALTER TABLE walks ADD COLUMN has_gap INTEGER NOT NULL DEFAULT 0;  -- 1: it ended before its lower bound
ALTER TABLE walks DROP COLUMN backfill;

ALTER TABLE gaps ADD COLUMN closed_at INTEGER;               -- null: still missing
CREATE INDEX gaps_conversation ON gaps (conversation);

-- Contents that were announced as changes, each once.
CREATE TABLE changes (
    conversation INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    content_hash INTEGER NOT NULL,
    PRIMARY KEY (conversation, message_id, content_hash)
) WITHOUT ROWID;

-- One row per folder of an account's inbox that has been listed.
CREATE TABLE sweeps (
    account INTEGER NOT NULL REFERENCES accounts (id),
    folder TEXT NOT NULL,
    first_swept_at INTEGER,         -- when the first complete sweep began; null: there was none yet
    swept_at INTEGER,               -- last complete sweep
    activity INTEGER,               -- provider's clock: whatever moved up to here has been noticed
    failing_since INTEGER,
    failure_class TEXT,
    failure_detail TEXT,
    began_at INTEGER,               -- of the first sweep, while it is under way ...
    cursor TEXT,                    -- ... where it goes on ...
    youngest INTEGER,               -- ... and the youngest activity it has seen
    started_at INTEGER,             -- last start of the provider's own collecting
    workflow_id TEXT,               -- while that start is under way
    PRIMARY KEY (account, folder)
) WITHOUT ROWID;

-- Credits spent, or reserved for a request under way. Days are UTC.
CREATE TABLE credits (
    account INTEGER NOT NULL REFERENCES accounts (id),
    day INTEGER NOT NULL,           -- days since 1970
    spent INTEGER NOT NULL,
    PRIMARY KEY (account, day)
) WITHOUT ROWID;

-- An event may be about an account as a whole: then it has no conversation, and its lane is minus the account's row.
CREATE TABLE new_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    conversation INTEGER REFERENCES conversations (id),
    created_at INTEGER NOT NULL,
    body TEXT NOT NULL              -- rendered once; every attempt sends these bytes
);
INSERT INTO new_events SELECT id, event_id, conversation, created_at, body FROM events;
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'events') WHERE name = 'new_events'
    AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events');
DROP TABLE events;
ALTER TABLE new_events RENAME TO events;
