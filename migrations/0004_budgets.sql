-- What an account has asked for and paid. Days are those of its time zone.
CREATE TABLE spending (
    account INTEGER NOT NULL REFERENCES accounts (id),
    day INTEGER NOT NULL,                   -- days since 1970
    requests INTEGER NOT NULL DEFAULT 0,    -- written once a minute: a kill forgets less than that
    credits INTEGER NOT NULL DEFAULT 0,     -- spent, or reserved for a request under way
    PRIMARY KEY (account, day)
) WITHOUT ROWID;
INSERT INTO spending (account, day, credits) SELECT account, day, spent FROM credits;
DROP TABLE credits;

-- Marks of a budget that have been passed and told.
CREATE TABLE budget_marks (
    account INTEGER NOT NULL REFERENCES accounts (id),
    period TEXT NOT NULL,                   -- day or month
    begins INTEGER NOT NULL,                -- its first day
    percent INTEGER NOT NULL,
    told_at INTEGER NOT NULL,
    left_at INTEGER,                        -- of 100: when there were credits again
    PRIMARY KEY (account, period, begins, percent)
) WITHOUT ROWID;

-- The budget as configured, and what was learnt of it, for those who only look.
ALTER TABLE accounts ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE accounts ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE accounts ADD COLUMN learnt_per_minute REAL;     -- null: what is configured
ALTER TABLE accounts ADD COLUMN daily_credits INTEGER;      -- null: the provider does not bill
ALTER TABLE accounts ADD COLUMN monthly_credits INTEGER;    -- null: no limit but the day's
