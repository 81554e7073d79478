-- Times are milliseconds since 1970, UTC. The provider's clock: watermark, history_until, last_message_at, sent_at,
-- low, newest, lapsed_at, sync_until. Ours: everything else.

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    paused_until INTEGER,           -- null: not paused
    paused_since INTEGER,
    pause_class TEXT,
    pause_reason TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    UNIQUE (provider, name)
);

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (id),
    conversation_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT,
    followed INTEGER NOT NULL DEFAULT 1,  -- 0: no longer in the configuration; everything is kept
    first_polled_at INTEGER,        -- null: first contact is still to come
    watermark INTEGER,              -- largest provider time recorded; never moves back
    history_until INTEGER,          -- messages up to here are history and stay silent
    verified_until INTEGER,         -- up to here we know we have everything
    last_message_at INTEGER,
    last_polled_at INTEGER,
    rechecked_at INTEGER,
    due_at INTEGER NOT NULL,
    lapsed_at INTEGER,              -- the provider stopped collecting here; read again from here once it resumes
    edits INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    failure_class TEXT,
    failure_detail TEXT,
    UNIQUE (account, conversation_id)
);

-- The journal and the set of seen ids in one: what is here has been recorded, once.
CREATE TABLE messages (
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    message_id TEXT NOT NULL,
    sent_at INTEGER,
    seen_at INTEGER NOT NULL,
    content_hash INTEGER NOT NULL,  -- of the latest content seen; the first content is what was announced
    event INTEGER,                  -- null: recorded silently
    PRIMARY KEY (conversation, message_id)
) WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    created_at INTEGER NOT NULL,
    body TEXT NOT NULL              -- rendered once; every attempt sends these bytes
);

CREATE TABLE sinks (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    configured INTEGER NOT NULL DEFAULT 1,  -- 0: no longer named; what it is owed is kept
    added_at INTEGER NOT NULL
);

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink INTEGER NOT NULL REFERENCES sinks (id),
    conversation INTEGER NOT NULL,
    event INTEGER NOT NULL REFERENCES events (id),
    state INTEGER NOT NULL DEFAULT 0,  -- 0 pending, 1 delivered, 2 dead
    attempts INTEGER NOT NULL DEFAULT 0,
    settled_at INTEGER
);
CREATE INDEX deliveries_pending ON deliveries (sink, conversation, id) WHERE state = 0;
CREATE INDEX deliveries_event ON deliveries (event);
CREATE INDEX deliveries_dead ON deliveries (sink, id) WHERE state = 2;

-- One row per sink and conversation with something pending: the order within a conversation and the time of its next
-- attempt, so that finding what is due costs the number of due conversations, not the length of the backlog.
CREATE TABLE lanes (
    sink INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (sink, conversation)
) WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes (sink, due_at);

CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,          -- delivered, retry, rejected
    detail TEXT,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;

-- A page walk that goes on in the next poll. Its pages lie in staged_messages, unannounced, until the walk has met
-- the recorded range.
CREATE TABLE walks (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (id),
    low INTEGER,                    -- the walk may stop below this; null: at the beginning of the conversation
    cursor TEXT,                    -- where to go on; null: everything is read and waits to be announced
    baseline INTEGER NOT NULL,      -- 1: first contact that records silently
    backfill INTEGER NOT NULL,      -- 1: history that the configuration asked for
    started_at INTEGER NOT NULL,
    pages INTEGER NOT NULL
);

CREATE TABLE staged_messages (
    conversation INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,       -- the largest integer where the provider gave no time: announced last
    message_id TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (conversation, sent_at, message_id)
) WITHOUT ROWID;

-- A range that could not be read. It stays on record.
CREATE TABLE gaps (
    id INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL REFERENCES conversations (id),
    low INTEGER,
    high INTEGER,
    reason TEXT NOT NULL,
    found_at INTEGER NOT NULL
);

CREATE TABLE syncs (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (id),
    state TEXT NOT NULL,            -- idle, queued, starting, running
    workflow_id TEXT,
    starts INTEGER NOT NULL DEFAULT 0,  -- in a row without success
    due_at INTEGER NOT NULL,        -- of the next start or status check
    started_at INTEGER,
    period_started_at INTEGER,      -- last successful start: the sync period counts from here
    sync_until INTEGER
);
