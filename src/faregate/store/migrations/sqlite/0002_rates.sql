-- Rates and the abandon budget: how fast a key may ride, kept where its money is, so that every process on this
-- database sees one bucket and a restart gives nothing away. A row is written at first use.

-- A token bucket. One that has no row is full. Its limit is the key's own and does not change.
CREATE TABLE rate(
  wallet_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  name TEXT NOT NULL CHECK(name IN ('requests', 'input_tokens', 'output_tokens')),
  level INTEGER NOT NULL CHECK(level BETWEEN -1000000000000000000 AND 1000000000000000000), -- in 1/60,000 of a unit
  seen_at INTEGER NOT NULL CHECK(seen_at >= 0), -- when the level was so high
  PRIMARY KEY(wallet_id, key_id, name),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id)
) STRICT, WITHOUT ROWID;

-- What a key's callers have left unpaid by hanging up, within the window that the first such loss opened.
CREATE TABLE abandoned(
  wallet_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  lost INTEGER NOT NULL CHECK(lost > 0), -- nanodollars
  since INTEGER NOT NULL CHECK(since >= 0),
  PRIMARY KEY(wallet_id, key_id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id)
) STRICT, WITHOUT ROWID;

-- A key's concurrency is the number of these, so it cannot leak. Without settled_at SQLite would not count in it alone,
-- and would rather walk all charges of the wallet.
CREATE INDEX charge_open_by_key ON charge(wallet_id, key_id, settled_at) WHERE settled_at IS NULL;
