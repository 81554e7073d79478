-- What real providers and receivers do: items that could not be read, sinks that were refused, whose clock said so.

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
