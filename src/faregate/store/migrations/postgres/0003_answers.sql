-- Answers that are kept for a repeat: the table of ../sqlite/0003_answers.sql, column by column.
CREATE TABLE answer(
  wallet_id text NOT NULL,
  charge_id text NOT NULL,
  kept_until bigint NOT NULL CHECK(kept_until > 0),
  headers text NOT NULL,             -- JSON: [[name, value], ...]
  body bytea NOT NULL,
  PRIMARY KEY(wallet_id, charge_id),
  FOREIGN KEY(wallet_id, charge_id) REFERENCES charge(wallet_id, id)
);
CREATE INDEX answer_until ON answer(kept_until);
