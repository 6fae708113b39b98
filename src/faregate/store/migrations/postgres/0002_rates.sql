-- Rates and the abandon budget: the tables of ../sqlite/0002_rates.sql, column by column.

-- A token bucket. One that has no row is full. Its limit is the key's own and does not change.
CREATE TABLE rate(
  wallet_id text NOT NULL,
  key_id text NOT NULL,
  name text NOT NULL CHECK(name IN ('requests', 'input_tokens', 'output_tokens')),
  level bigint NOT NULL CHECK(level BETWEEN -1000000000000000000 AND 1000000000000000000), -- in 1/60,000 of a unit
  seen_at bigint NOT NULL CHECK(seen_at >= 0), -- when the level was so high
  PRIMARY KEY(wallet_id, key_id, name),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id)
) WITH (fillfactor = 50);

-- What a key's callers have left unpaid by hanging up, within the window that the first such loss opened.
CREATE TABLE abandoned(
  wallet_id text NOT NULL,
  key_id text NOT NULL,
  lost bigint NOT NULL CHECK(lost > 0), -- nanodollars
  since bigint NOT NULL CHECK(since >= 0),
  PRIMARY KEY(wallet_id, key_id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id)
) WITH (fillfactor = 50);

-- A key's concurrency is the number of these, so it cannot leak.
CREATE INDEX charge_open_by_key ON charge(wallet_id, key_id) WHERE settled_at IS NULL;
