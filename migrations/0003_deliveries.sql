-- A delivery is one event for one sink. Its order within a lane is that of its event, and a settled one leaves no second
-- index behind. A lane is what one sink is owed of one conversation (its row), of one account (minus its row), or about
-- one sink (minus 2^40, minus its row).
CREATE TABLE new_deliveries (
    event INTEGER NOT NULL REFERENCES events (id),
    sink INTEGER NOT NULL REFERENCES sinks (id),
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,   -- 0 pending, 1 delivered, 2 dead, 3 filtered
    raw INTEGER NOT NULL DEFAULT 0,     -- 1: with the provider's own object, where the event has it
    attempts INTEGER NOT NULL DEFAULT 0,    -- all of them
    retries INTEGER NOT NULL DEFAULT 0,     -- failed ones since it last became pending
    settled_at INTEGER,
    PRIMARY KEY (event, sink)
) WITHOUT ROWID;

-- Of every delivery the attempts that failed, and the successes before it was sent again. What the last attempt came to is in
-- the delivery itself.
CREATE TABLE new_attempts (
    event INTEGER NOT NULL,
    sink INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,              -- retry, rejected, probe (of a parked sink), delivered
    detail TEXT,
    PRIMARY KEY (event, sink, number)
) WITHOUT ROWID;

INSERT INTO new_deliveries (event, sink, lane, state, attempts, retries, settled_at)
    SELECT event, sink, conversation, state, attempts, attempts, settled_at FROM deliveries;
INSERT INTO new_attempts (event, sink, number, at, outcome, detail)
    SELECT d.event, d.sink, a.number, a.at, a.outcome, a.detail FROM attempts a JOIN deliveries d ON d.id = a.delivery
    WHERE a.outcome <> 'delivered';
DROP TABLE attempts;
DROP TABLE deliveries;
ALTER TABLE new_deliveries RENAME TO deliveries;
ALTER TABLE new_attempts RENAME TO attempts;
CREATE INDEX deliveries_pending ON deliveries (sink, lane, event) WHERE state = 0;
CREATE INDEX deliveries_dead ON deliveries (sink, event) WHERE state = 2;

ALTER TABLE lanes RENAME COLUMN conversation TO lane;

ALTER TABLE events ADD COLUMN raw_body TEXT;    -- the event with the provider's own object, where a sink wants that

ALTER TABLE sinks ADD COLUMN failing_since INTEGER;  -- first failure since the last success; null: the last attempt succeeded
ALTER TABLE sinks ADD COLUMN parked_at INTEGER;      -- null: not parked
ALTER TABLE sinks ADD COLUMN failure_detail TEXT;    -- of the last failure
ALTER TABLE sinks ADD COLUMN events TEXT NOT NULL DEFAULT 'message.new';  -- patterns, separated by commas
ALTER TABLE sinks ADD COLUMN filter TEXT;
ALTER TABLE sinks ADD COLUMN max_pending INTEGER;    -- above it polling waits
