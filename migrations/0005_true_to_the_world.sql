-- What real providers and receivers do: items that could not be read, sinks that were refused, whose clock said so.

ALTER TABLE sinks ADD COLUMN dead_since INTEGER;    -- when its first dead delivery was told; null: it has none, or none was told

-- The youngest activity of the first complete sweep over a folder, by the provider's clock: what no sweep before listed is new from
-- there on. Of sweeps from before this column, what they have noticed by now serves as well.
ALTER TABLE sweeps ADD COLUMN first_activity INTEGER;
UPDATE sweeps SET first_activity = coalesce(activity, (SELECT max(o.activity) FROM sweeps o WHERE o.account = sweeps.account))
    WHERE first_swept_at IS NOT NULL;
