-- The ledger on SQLite (>= 3.37, STRICT). What must never happen is refused here, whoever writes: the rules of
-- core/ledger.py are kept by checks, keys and triggers, and the programs above only ask.
--
-- Every row names its wallet, so that the tables can be distributed by wallet id. Amounts are nanodollars, times are
-- Unix milliseconds. The operator's accounts stand under the wallet 'operator' and have no floor: their balance is a
-- sum over transfers and is never kept, since they are the hottest rows of all.
--
-- For a list of more than two constants SQLite builds a table at each run, so the hot checks spell their OR out.
--
-- A connection that writes has foreign_keys, recursive_triggers (so that REPLACE fires the triggers of a delete) and
-- synchronous = FULL set: see sqlite.py.

CREATE TABLE meta(
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node(
  name TEXT PRIMARY KEY,
  incarnation INTEGER NOT NULL,      -- one more with every start
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account(
  wallet_id TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK(kind IN ('wallet', 'limit', 'operator')),
  name TEXT NOT NULL,                -- of a wallet its name, of a limit which one: quota, spend_5h ...
  key_id TEXT,                       -- whose limit it is
  posted INTEGER NOT NULL DEFAULT 0, -- sum of credits - sum of debits
  held INTEGER NOT NULL DEFAULT 0 CHECK(held >= 0), -- sum of open holds
  floor INTEGER,                     -- posted - held never goes below; NULL for the operator's own
  last_transfer INTEGER NOT NULL DEFAULT 0, -- the transfer that explains `posted`
  moves INTEGER NOT NULL DEFAULT 0,  -- how often `held` has moved
  moved_by TEXT,                     -- the charge whose hold explains the last move
  created_at INTEGER NOT NULL,
  ends_at INTEGER,                   -- of a limit: when its window ends
  PRIMARY KEY(wallet_id, id),
  CONSTRAINT no_overdraft CHECK(floor IS NULL OR posted - held >= floor),
  CHECK((kind = 'operator') = (floor IS NULL)),
  CHECK((kind = 'operator') = (wallet_id = 'operator')),
  CHECK((kind = 'wallet') = (wallet_id = id)),
  CHECK((kind = 'limit') = (key_id IS NOT NULL)),
  CHECK((kind = 'limit') = (ends_at IS NOT NULL)),
  CHECK(floor IS NOT NULL OR (posted = 0 AND held = 0))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX wallet_name ON account(name) WHERE kind = 'wallet';
CREATE INDEX account_limit ON account(wallet_id, key_id, ends_at) WHERE key_id IS NOT NULL;

CREATE TABLE price(
  id TEXT PRIMARY KEY,
  model TEXT NOT NULL,
  valid_from INTEGER NOT NULL,
  input INTEGER NOT NULL CHECK(input >= 0), -- nanodollars per token, as all five
  output INTEGER NOT NULL CHECK(output >= 0),
  cache_write_5m INTEGER NOT NULL CHECK(cache_write_5m >= 0),
  cache_write_1h INTEGER NOT NULL CHECK(cache_write_1h >= 0),
  cache_read INTEGER NOT NULL CHECK(cache_read >= 0),
  UNIQUE(model, valid_from)
) STRICT, WITHOUT ROWID;

CREATE TABLE key(
  wallet_id TEXT NOT NULL,
  id TEXT NOT NULL UNIQUE,
  digest BLOB NOT NULL UNIQUE CHECK(length(digest) = 32), -- the keyed hash of the key written out in full
  name TEXT NOT NULL,
  models TEXT NOT NULL,              -- JSON arrays of strings
  allow_ips TEXT NOT NULL,
  deny_ips TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  quota INTEGER CHECK(quota >= 0),
  spend_5h INTEGER CHECK(spend_5h >= 0),
  spend_1d INTEGER CHECK(spend_1d >= 0),
  spend_7d INTEGER CHECK(spend_7d >= 0),
  requests_per_minute INTEGER,
  input_tokens_per_minute INTEGER,
  output_tokens_per_minute INTEGER,
  concurrency INTEGER,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, wallet_id) REFERENCES account(wallet_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE charge(
  wallet_id TEXT NOT NULL,
  id TEXT NOT NULL,                  -- the message id
  key_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  idem_key TEXT,                     -- the caller's Idempotency-Key; a release frees it
  body_sha256 BLOB NOT NULL,
  model TEXT NOT NULL,
  price_id TEXT NOT NULL REFERENCES price(id),
  state TEXT NOT NULL DEFAULT 'reserved'
    CHECK(state = 'reserved' OR state = 'streaming' OR state = 'settled' OR state = 'released' OR state = 'orphaned'),
  outcome TEXT CHECK(outcome = 'ok' OR outcome = 'client_gone' OR outcome = 'upstream_error'
    OR outcome = 'gateway_error' OR outcome = 'gateway_crash' OR outcome = 'shutdown'),
  held INTEGER NOT NULL CHECK(held >= 0),
  estimated INTEGER NOT NULL CHECK(estimated >= 0),
  input INTEGER NOT NULL DEFAULT 0 CHECK(input >= 0),
  output INTEGER NOT NULL DEFAULT 0 CHECK(output >= 0),
  cache_read INTEGER NOT NULL DEFAULT 0 CHECK(cache_read >= 0),
  cache_write_5m INTEGER NOT NULL DEFAULT 0 CHECK(cache_write_5m >= 0),
  cache_write_1h INTEGER NOT NULL DEFAULT 0 CHECK(cache_write_1h >= 0),
  basis TEXT NOT NULL DEFAULT 'nothing' CHECK(basis = 'upstream' OR basis = 'counted' OR basis = 'nothing'),
  charged INTEGER NOT NULL DEFAULT 0 CHECK(charged >= 0),
  shortfall INTEGER NOT NULL DEFAULT 0 CHECK(shortfall >= 0),
  upstream TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  node TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  settled_at INTEGER,                -- when it ended, either way
  settle_idem TEXT,                  -- which transfers there must be, where there is money
  shortfall_idem TEXT,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id),
  -- Judged at COMMIT: what was charged *is* the amount of a ledger row.
  FOREIGN KEY(wallet_id, settle_idem, charged) REFERENCES transfer(wallet_id, idem, amount)
    DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY(wallet_id, shortfall_idem, shortfall) REFERENCES transfer(wallet_id, idem, amount)
    DEFERRABLE INITIALLY DEFERRED,
  CHECK(settle_idem IS CASE WHEN charged > 0 THEN 'settle:' || id END),
  CHECK(shortfall_idem IS CASE WHEN shortfall > 0 THEN 'shortfall:' || id END),
  CHECK(charged <= held),
  CHECK((state IN ('settled', 'released')) = (settled_at IS NOT NULL)),
  CHECK((state IN ('settled', 'released')) = (outcome IS NOT NULL)),
  CONSTRAINT only_a_settled_charge_costs CHECK(state = 'settled' OR charged + shortfall = 0),
  CONSTRAINT an_error_is_never_billed CHECK(charged + shortfall = 0 OR outcome IN ('ok', 'client_gone'))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX charge_idem ON charge(wallet_id, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX charge_open ON charge(node, incarnation) WHERE settled_at IS NULL;
CREATE INDEX charge_by_key ON charge(wallet_id, key_id, id);
-- Without these two, each new transfer would scan all charges for the ones whose deferred key it answers.
CREATE INDEX charge_settle ON charge(wallet_id, settle_idem, charged) WHERE settle_idem IS NOT NULL;
CREATE INDEX charge_shortfall ON charge(wallet_id, shortfall_idem, shortfall) WHERE shortfall_idem IS NOT NULL;

CREATE TABLE transfer(
  id INTEGER PRIMARY KEY,            -- rows are never deleted, so this only grows
  wallet_id TEXT NOT NULL,
  idem TEXT NOT NULL,
  kind TEXT NOT NULL,
  debit_id TEXT NOT NULL,
  credit_id TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK(amount > 0),
  charge_id TEXT,
  at INTEGER NOT NULL,
  memo TEXT,
  UNIQUE(wallet_id, idem),
  UNIQUE(wallet_id, idem, amount),
  -- Each kind moves money between the accounts that are its own, under the one name that it can have.
  CONSTRAINT kind_of_transfer CHECK(CASE kind
    WHEN 'topup' THEN debit_id = 'world' AND credit_id = wallet_id AND charge_id IS NULL AND idem LIKE 'ref:%'
    WHEN 'adjust' THEN ((debit_id = 'world' AND credit_id = wallet_id) OR (debit_id = wallet_id AND credit_id = 'world'))
      AND charge_id IS NULL AND idem LIKE 'ref:%'
    WHEN 'settle' THEN debit_id = wallet_id AND credit_id = 'revenue' AND idem IS 'settle:' || charge_id
    WHEN 'shortfall' THEN debit_id = 'shortfall' AND credit_id = 'revenue' AND idem IS 'shortfall:' || charge_id
    WHEN 'loss' THEN debit_id IN ('shortfall', 'crash_loss', 'error_loss', 'abandon_loss') AND credit_id = 'revenue'
      AND idem IS 'loss:' || charge_id
    WHEN 'cap' THEN debit_id = 'limits' AND idem = 'cap:' || credit_id AND charge_id IS NULL
    WHEN 'limit' THEN debit_id <> wallet_id AND credit_id = 'limits'
      AND idem IS 'limit:' || charge_id || ':' || debit_id
    ELSE 0 END)
) STRICT;
CREATE INDEX transfer_wallet ON transfer(wallet_id);
-- A reference names one top-up or adjustment in the whole house, not one for each wallet.
CREATE UNIQUE INDEX transfer_reference ON transfer(idem) WHERE kind IN ('topup', 'adjust');

CREATE TABLE hold(
  wallet_id TEXT NOT NULL,
  charge_id TEXT NOT NULL,
  account_id TEXT NOT NULL,          -- the wallet itself, or a limit of the key
  seq INTEGER NOT NULL,              -- the move of its account that took it
  amount INTEGER NOT NULL CHECK(amount >= 0),
  closed INTEGER,                    -- the move of its account that freed it; NULL while it is open
  PRIMARY KEY(wallet_id, charge_id, account_id, seq)
) STRICT, WITHOUT ROWID;

-- Balances: they move with transfers and holds, and not otherwise -------------------------------------------------

CREATE TRIGGER account_born BEFORE INSERT ON account
WHEN NEW.posted <> 0 OR NEW.held <> 0 OR NEW.last_transfer <> 0 OR NEW.moves <> 0
BEGIN SELECT RAISE(ABORT, 'an account is opened empty'); END;

CREATE TRIGGER account_facts BEFORE UPDATE OF wallet_id, id, kind, key_id, created_at, ends_at ON account
BEGIN SELECT RAISE(ABORT, 'what an account is does not change'); END;

CREATE TRIGGER account_kept BEFORE DELETE ON account
BEGIN SELECT RAISE(ABORT, 'accounts are never deleted'); END;

CREATE TRIGGER account_posted BEFORE UPDATE OF posted, last_transfer ON account
WHEN NOT EXISTS(
  SELECT 1 FROM transfer t WHERE t.id = NEW.last_transfer AND t.id > OLD.last_transfer AND t.wallet_id = NEW.wallet_id
    AND NEW.posted - OLD.posted = CASE NEW.id WHEN t.credit_id THEN t.amount WHEN t.debit_id THEN -t.amount END)
BEGIN SELECT RAISE(ABORT, 'posted changes by a transfer only'); END;

-- Each move has the next number, and one hold was taken or freed under it: so no move can be made up or made twice.
CREATE TRIGGER account_held BEFORE UPDATE OF held, moves, moved_by ON account
WHEN NEW.moves <> OLD.moves + 1 OR NOT EXISTS(
  SELECT 1 FROM hold h WHERE h.wallet_id = NEW.wallet_id AND h.charge_id = NEW.moved_by AND h.account_id = NEW.id
    AND ((h.closed = NEW.moves AND NEW.held = OLD.held - h.amount)
      OR (h.seq = NEW.moves AND NEW.held = OLD.held + h.amount)))
BEGIN SELECT RAISE(ABORT, 'held changes by a hold only'); END;

-- Transfers -------------------------------------------------------------------------------------------------------

CREATE TRIGGER transfer_of_charge BEFORE INSERT ON transfer
WHEN NEW.charge_id IS NOT NULL AND NOT EXISTS(
  SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id AND CASE NEW.kind
    WHEN 'settle' THEN c.state = 'settled' AND c.charged = NEW.amount
    WHEN 'shortfall' THEN c.state = 'settled' AND c.shortfall = NEW.amount
    WHEN 'limit' THEN c.state = 'settled' AND c.charged = NEW.amount AND EXISTS(SELECT 1 FROM hold h
      WHERE h.wallet_id = c.wallet_id AND h.charge_id = c.id AND h.account_id = NEW.debit_id)
    ELSE c.settled_at IS NOT NULL END)
BEGIN SELECT RAISE(ABORT, 'a transfer that its charge does not explain'); END;

CREATE TRIGGER transfer_apply AFTER INSERT ON transfer
BEGIN
  -- A settle is between the wallet of its charge and revenue: nothing to look up.
  SELECT RAISE(ABORT, 'a transfer between unknown accounts') WHERE NEW.kind <> 'settle' AND (
    NOT EXISTS(SELECT 1 FROM account WHERE wallet_id IN (NEW.wallet_id, 'operator') AND id = NEW.debit_id)
    OR NOT EXISTS(SELECT 1 FROM account WHERE wallet_id IN (NEW.wallet_id, 'operator') AND id = NEW.credit_id));
  UPDATE account SET posted = posted - NEW.amount, last_transfer = NEW.id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.debit_id;
  UPDATE account SET posted = posted + NEW.amount, last_transfer = NEW.id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.credit_id;
END;

CREATE TRIGGER transfer_unedited BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are never edited'); END;

CREATE TRIGGER transfer_kept BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are never deleted'); END;

-- Holds -----------------------------------------------------------------------------------------------------------

CREATE TRIGGER hold_born BEFORE INSERT ON hold
WHEN NEW.closed IS NOT NULL
  OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id
    AND c.state IN ('reserved', 'streaming'))
  OR NOT EXISTS(SELECT 1 FROM account a WHERE a.wallet_id = NEW.wallet_id AND a.id = NEW.account_id
    AND a.moves + 1 = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'a hold is taken open, by an open charge, as the next move of its account'); END;

CREATE TRIGGER hold_taken AFTER INSERT ON hold
BEGIN
  UPDATE account SET held = held + NEW.amount, moves = NEW.seq, moved_by = NEW.charge_id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.account_id;
END;

CREATE TRIGGER hold_facts BEFORE UPDATE OF wallet_id, charge_id, account_id, seq, amount ON hold
BEGIN SELECT RAISE(ABORT, 'what a hold is does not change'); END;

CREATE TRIGGER hold_end BEFORE UPDATE OF closed ON hold
WHEN OLD.closed IS NOT NULL OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id
    AND c.settled_at IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a hold is freed once, by the end of its charge'); END;

CREATE TRIGGER hold_freed AFTER UPDATE OF closed ON hold
BEGIN
  UPDATE account SET held = held - OLD.amount, moves = NEW.closed, moved_by = NEW.charge_id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.account_id;
END;

CREATE TRIGGER hold_kept BEFORE DELETE ON hold
BEGIN SELECT RAISE(ABORT, 'holds are never deleted'); END;

-- Charges ---------------------------------------------------------------------------------------------------------

CREATE TRIGGER charge_born BEFORE INSERT ON charge WHEN NEW.state <> 'reserved'
BEGIN SELECT RAISE(ABORT, 'a charge begins reserved'); END;

CREATE TRIGGER charge_facts BEFORE UPDATE OF
  wallet_id, id, key_id, request_id, body_sha256, model, price_id, held, estimated, node, incarnation, created_at
  ON charge
BEGIN SELECT RAISE(ABORT, 'what a charge is does not change'); END;

-- One trigger and not five: each costs a program of its own, on the hottest statement there is.
CREATE TRIGGER charge_change BEFORE UPDATE ON charge
BEGIN
  SELECT CASE
    WHEN OLD.settled_at IS NOT NULL THEN RAISE(ABORT, 'a charge that has ended does not change')
    WHEN NEW.state <> OLD.state AND NOT CASE NEW.state
        WHEN 'streaming' THEN OLD.state = 'reserved'
        WHEN 'orphaned' THEN OLD.state IN ('reserved', 'streaming')
        WHEN 'settled' THEN 1
        WHEN 'released' THEN 1
        ELSE 0 END
      THEN RAISE(ABORT, 'a charge cannot go from that state to this')
    WHEN NEW.idem_key IS NOT OLD.idem_key AND (NEW.idem_key IS NOT NULL OR NEW.state <> 'released')
      THEN RAISE(ABORT, 'an idempotency key is freed by a release only')
    WHEN NEW.charged > 0 AND NEW.charged > (SELECT COALESCE(SUM(h.amount), 0) FROM hold h
        WHERE h.wallet_id = NEW.wallet_id AND h.charge_id = NEW.id AND h.account_id = NEW.wallet_id)
      THEN RAISE(ABORT, 'charged is more than held')
  END;
END;

CREATE TRIGGER charge_end AFTER UPDATE OF state ON charge WHEN NEW.settled_at IS NOT NULL
BEGIN
  UPDATE hold SET closed =
      (SELECT a.moves + 1 FROM account a WHERE a.wallet_id = hold.wallet_id AND a.id = hold.account_id)
    WHERE wallet_id = NEW.wallet_id AND charge_id = NEW.id AND closed IS NULL;
END;

CREATE TRIGGER charge_kept BEFORE DELETE ON charge
BEGIN SELECT RAISE(ABORT, 'charges are never deleted'); END;

-- Prices and keys -------------------------------------------------------------------------------------------------

CREATE TRIGGER price_unedited BEFORE UPDATE ON price
BEGIN SELECT RAISE(ABORT, 'price versions are never edited'); END;

CREATE TRIGGER price_kept BEFORE DELETE ON price
BEGIN SELECT RAISE(ABORT, 'price versions are never deleted'); END;

CREATE TRIGGER key_facts BEFORE UPDATE OF
  wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at, expires_at, quota, spend_5h, spend_1d, spend_7d,
  requests_per_minute, input_tokens_per_minute, output_tokens_per_minute, concurrency ON key
BEGIN SELECT RAISE(ABORT, 'what a key is does not change'); END;

CREATE TRIGGER key_revoked_once BEFORE UPDATE OF revoked_at ON key WHEN OLD.revoked_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a key is revoked once'); END;

CREATE TRIGGER key_kept BEFORE DELETE ON key
BEGIN SELECT RAISE(ABORT, 'keys are never deleted'); END;

INSERT INTO account(wallet_id, id, kind, name, created_at) VALUES
  ('operator', 'world', 'operator', 'world', 0),
  ('operator', 'revenue', 'operator', 'revenue', 0),
  ('operator', 'limits', 'operator', 'limits', 0),
  ('operator', 'promo', 'operator', 'promo', 0),
  ('operator', 'shortfall', 'operator', 'shortfall', 0),
  ('operator', 'crash_loss', 'operator', 'crash_loss', 0),
  ('operator', 'error_loss', 'operator', 'error_loss', 0),
  ('operator', 'abandon_loss', 'operator', 'abandon_loss', 0);
