-- Answers that are kept for a repeat with the same Idempotency-Key, where the operator keeps any: written with the settle
-- of their call, read by nobody but its wallet, deleted when their time is over. No money hangs on them: without its
-- answer a repeat gets the receipt.
CREATE TABLE answer(
  wallet_id TEXT NOT NULL,
  charge_id TEXT NOT NULL,
  kept_until INTEGER NOT NULL CHECK(kept_until > 0),
  headers TEXT NOT NULL,             -- JSON: [[name, value], ...]
  body BLOB NOT NULL,
  PRIMARY KEY(wallet_id, charge_id),
  FOREIGN KEY(wallet_id, charge_id) REFERENCES charge(wallet_id, id)
) STRICT;
CREATE INDEX answer_until ON answer(kept_until);
