-- What strangers can do.

-- Conversations whose large answer is being read. A row that is there at the next start tells which answer the process
-- has not survived.
CREATE TABLE readings (
    conversation INTEGER PRIMARY KEY REFERENCES conversations (id),
    began_at INTEGER NOT NULL
);
-- Since when a conversation is left alone for that; null: it is not.
ALTER TABLE conversations ADD COLUMN poisoned_since INTEGER;
ALTER TABLE conversations ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;  -- of processes that were reading its answer

-- Since when an inbox lists more conversations than are followed at most; null: it does not.
ALTER TABLE accounts ADD COLUMN full_since INTEGER;

ALTER TABLE walks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;  -- of its pages that are staged
