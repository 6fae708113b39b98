-- The ledger on PostgreSQL (>= 14): the tables of ../sqlite/0001_ledger.sql, column by column, and the same refusals under the
-- same words. What differs is how a balance is kept: by triggers that run once for a statement, however many rows it
-- has, and with their owner's rights, so that a role which may write transfers and holds still cannot write a balance.
--
-- Balances are in no index and the pages that hold them are half empty, so that a new balance stays on its page.

CREATE TABLE meta(
  name text PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE node(
  name text PRIMARY KEY,
  incarnation bigint NOT NULL,       -- one more with every start
  started_at bigint NOT NULL,
  seen_at bigint NOT NULL            -- by the database's own clock
);

CREATE TABLE account(
  wallet_id text NOT NULL,
  id text NOT NULL,
  kind text NOT NULL CHECK(kind IN ('wallet', 'limit', 'operator')),
  name text NOT NULL,                -- of a wallet its name, of a limit which one: quota, spend_5h ...
  key_id text,                       -- whose limit it is
  posted bigint NOT NULL DEFAULT 0,  -- sum of credits - sum of debits
  held bigint NOT NULL DEFAULT 0 CHECK(held >= 0), -- sum of open holds
  floor bigint,                      -- posted - held never goes below; NULL for the operator's own
  last_transfer bigint NOT NULL DEFAULT 0, -- the transfer that explains `posted`
  moves bigint NOT NULL DEFAULT 0,   -- how often `held` has moved
  moved_by text,                     -- the charge whose hold explains the last move
  created_at bigint NOT NULL,
  ends_at bigint,                    -- of a limit: when its window ends
  PRIMARY KEY(wallet_id, id),
  CONSTRAINT no_overdraft CHECK(floor IS NULL OR posted - held >= floor),
  CHECK((kind = 'operator') = (floor IS NULL)),
  CHECK((kind = 'operator') = (wallet_id = 'operator')),
  CHECK((kind = 'wallet') = (wallet_id = id)),
  CHECK((kind = 'limit') = (key_id IS NOT NULL)),
  CHECK((kind = 'limit') = (ends_at IS NOT NULL)),
  CHECK(floor IS NOT NULL OR (posted = 0 AND held = 0))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX wallet_name ON account(name) WHERE kind = 'wallet';
CREATE INDEX account_limit ON account(wallet_id, key_id, ends_at) WHERE key_id IS NOT NULL;

CREATE TABLE price(
  id text PRIMARY KEY,
  model text NOT NULL,
  valid_from bigint NOT NULL,
  input bigint NOT NULL CHECK(input >= 0), -- nanodollars per token, as all five
  output bigint NOT NULL CHECK(output >= 0),
  cache_write_5m bigint NOT NULL CHECK(cache_write_5m >= 0),
  cache_write_1h bigint NOT NULL CHECK(cache_write_1h >= 0),
  cache_read bigint NOT NULL CHECK(cache_read >= 0),
  UNIQUE(model, valid_from)
);

CREATE TABLE key(
  wallet_id text NOT NULL,
  id text NOT NULL UNIQUE,
  digest bytea NOT NULL UNIQUE CHECK(length(digest) = 32), -- the keyed hash of the key written out in full
  name text NOT NULL,
  models text NOT NULL,              -- JSON arrays of strings
  allow_ips text NOT NULL,
  deny_ips text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint,
  revoked_at bigint,
  quota bigint CHECK(quota >= 0),
  spend_5h bigint CHECK(spend_5h >= 0),
  spend_1d bigint CHECK(spend_1d >= 0),
  spend_7d bigint CHECK(spend_7d >= 0),
  requests_per_minute bigint,
  input_tokens_per_minute bigint,
  output_tokens_per_minute bigint,
  concurrency bigint,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, wallet_id) REFERENCES account(wallet_id, id)
);

CREATE TABLE transfer(
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  wallet_id text NOT NULL,
  idem text NOT NULL,
  kind text NOT NULL,
  debit_id text NOT NULL,
  credit_id text NOT NULL,
  amount bigint NOT NULL CHECK(amount > 0),
  charge_id text,
  at bigint NOT NULL,
  memo text,
  UNIQUE(wallet_id, idem),
  UNIQUE(wallet_id, idem, amount),
  -- Each kind moves money between the accounts that are its own, under the one name that it can have.
  CONSTRAINT kind_of_transfer CHECK(CASE kind
    WHEN 'topup' THEN debit_id = 'world' AND credit_id = wallet_id AND charge_id IS NULL AND idem LIKE 'ref:%'
    WHEN 'adjust' THEN ((debit_id = 'world' AND credit_id = wallet_id) OR (debit_id = wallet_id AND credit_id = 'world'))
      AND charge_id IS NULL AND idem LIKE 'ref:%'
    WHEN 'settle' THEN debit_id = wallet_id AND credit_id = 'revenue'
      AND idem IS NOT DISTINCT FROM 'settle:' || charge_id
    WHEN 'shortfall' THEN debit_id = 'shortfall' AND credit_id = 'revenue'
      AND idem IS NOT DISTINCT FROM 'shortfall:' || charge_id
    WHEN 'loss' THEN debit_id IN ('shortfall', 'crash_loss', 'error_loss', 'abandon_loss') AND credit_id = 'revenue'
      AND idem IS NOT DISTINCT FROM 'loss:' || charge_id
    WHEN 'cap' THEN debit_id = 'limits' AND idem = 'cap:' || credit_id AND charge_id IS NULL
    WHEN 'limit' THEN debit_id <> wallet_id AND credit_id = 'limits'
      AND idem IS NOT DISTINCT FROM 'limit:' || charge_id || ':' || debit_id
    ELSE false END)
);
-- A reference names one top-up or adjustment in the whole house, not one for each wallet.
CREATE UNIQUE INDEX transfer_reference ON transfer(idem) WHERE kind IN ('topup', 'adjust');

CREATE TABLE charge(
  wallet_id text NOT NULL,
  id text NOT NULL,                  -- the message id
  key_id text NOT NULL,
  request_id text NOT NULL,
  idem_key text,                     -- the caller's Idempotency-Key; a release frees it
  body_sha256 bytea NOT NULL,
  model text NOT NULL,
  price_id text NOT NULL REFERENCES price(id),
  state text NOT NULL DEFAULT 'reserved'
    CHECK(state IN ('reserved', 'streaming', 'settled', 'released', 'orphaned')),
  outcome text CHECK(outcome IN ('ok', 'client_gone', 'upstream_error', 'gateway_error', 'gateway_crash', 'shutdown')),
  held bigint NOT NULL CHECK(held >= 0),
  estimated bigint NOT NULL CHECK(estimated >= 0),
  input bigint NOT NULL DEFAULT 0 CHECK(input >= 0),
  output bigint NOT NULL DEFAULT 0 CHECK(output >= 0),
  cache_read bigint NOT NULL DEFAULT 0 CHECK(cache_read >= 0),
  cache_write_5m bigint NOT NULL DEFAULT 0 CHECK(cache_write_5m >= 0),
  cache_write_1h bigint NOT NULL DEFAULT 0 CHECK(cache_write_1h >= 0),
  basis text NOT NULL DEFAULT 'nothing' CHECK(basis IN ('upstream', 'counted', 'nothing')),
  charged bigint NOT NULL DEFAULT 0 CHECK(charged >= 0),
  shortfall bigint NOT NULL DEFAULT 0 CHECK(shortfall >= 0),
  upstream text,
  attempts bigint NOT NULL DEFAULT 0,
  node text NOT NULL,
  incarnation bigint NOT NULL,
  created_at bigint NOT NULL,
  settled_at bigint,                 -- when it ended, either way
  settle_idem text,                  -- which transfers there must be, where there is money
  shortfall_idem text,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id),
  -- Judged at COMMIT: what was charged *is* the amount of a ledger row.
  FOREIGN KEY(wallet_id, settle_idem, charged) REFERENCES transfer(wallet_id, idem, amount)
    DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY(wallet_id, shortfall_idem, shortfall) REFERENCES transfer(wallet_id, idem, amount)
    DEFERRABLE INITIALLY DEFERRED,
  CHECK(settle_idem IS NOT DISTINCT FROM CASE WHEN charged > 0 THEN 'settle:' || id END),
  CHECK(shortfall_idem IS NOT DISTINCT FROM CASE WHEN shortfall > 0 THEN 'shortfall:' || id END),
  CHECK(charged <= held),
  CHECK((state IN ('settled', 'released')) = (settled_at IS NOT NULL)),
  CHECK((state IN ('settled', 'released')) = (outcome IS NOT NULL)),
  CONSTRAINT only_a_settled_charge_costs CHECK(state = 'settled' OR charged + shortfall = 0),
  CONSTRAINT an_error_is_never_billed
    CHECK(charged + shortfall = 0 OR (outcome IS NOT NULL AND outcome IN ('ok', 'client_gone')))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX charge_idem ON charge(wallet_id, idem_key) WHERE idem_key IS NOT NULL;
CREATE INDEX charge_open ON charge(node, incarnation) WHERE settled_at IS NULL;
CREATE INDEX charge_by_key ON charge(wallet_id, key_id, id);

CREATE TABLE hold(
  wallet_id text NOT NULL,
  charge_id text NOT NULL,
  account_id text NOT NULL,          -- the wallet itself, or a limit of the key
  seq bigint NOT NULL,               -- the move of its account that took it
  amount bigint NOT NULL CHECK(amount >= 0),
  closed bigint,                     -- the move of its account that freed it; NULL while it is open
  PRIMARY KEY(wallet_id, charge_id, account_id, seq)
) WITH (fillfactor = 70);

-- What never happens ----------------------------------------------------------------------------------------------

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation'; END $$;

CREATE TRIGGER account_born BEFORE INSERT ON account FOR EACH ROW
WHEN (NEW.posted <> 0 OR NEW.held <> 0 OR NEW.last_transfer <> 0 OR NEW.moves <> 0)
EXECUTE FUNCTION refuse('an account is opened empty');

CREATE TRIGGER account_facts BEFORE UPDATE OF wallet_id, id, kind, key_id, created_at, ends_at ON account
FOR EACH ROW EXECUTE FUNCTION refuse('what an account is does not change');

CREATE TRIGGER account_kept BEFORE DELETE OR TRUNCATE ON account
FOR EACH STATEMENT EXECUTE FUNCTION refuse('accounts are never deleted');

CREATE TRIGGER transfer_unedited BEFORE UPDATE ON transfer
FOR EACH STATEMENT EXECUTE FUNCTION refuse('transfers are never edited');

CREATE TRIGGER transfer_kept BEFORE DELETE OR TRUNCATE ON transfer
FOR EACH STATEMENT EXECUTE FUNCTION refuse('transfers are never deleted');

CREATE TRIGGER hold_facts BEFORE UPDATE OF wallet_id, charge_id, account_id, seq, amount ON hold
FOR EACH ROW EXECUTE FUNCTION refuse('what a hold is does not change');

CREATE TRIGGER hold_kept BEFORE DELETE OR TRUNCATE ON hold
FOR EACH STATEMENT EXECUTE FUNCTION refuse('holds are never deleted');

CREATE TRIGGER charge_born BEFORE INSERT ON charge FOR EACH ROW
WHEN (NEW.state <> 'reserved') EXECUTE FUNCTION refuse('a charge begins reserved');

CREATE TRIGGER charge_facts BEFORE UPDATE OF
  wallet_id, id, key_id, request_id, body_sha256, model, price_id, held, estimated, node, incarnation, created_at
  ON charge FOR EACH ROW EXECUTE FUNCTION refuse('what a charge is does not change');

CREATE TRIGGER charge_kept BEFORE DELETE OR TRUNCATE ON charge
FOR EACH STATEMENT EXECUTE FUNCTION refuse('charges are never deleted');

CREATE TRIGGER price_unedited BEFORE UPDATE ON price
FOR EACH STATEMENT EXECUTE FUNCTION refuse('price versions are never edited');

CREATE TRIGGER price_kept BEFORE DELETE OR TRUNCATE ON price
FOR EACH STATEMENT EXECUTE FUNCTION refuse('price versions are never deleted');

CREATE TRIGGER key_facts BEFORE UPDATE OF
  wallet_id, id, digest, name, models, allow_ips, deny_ips, created_at, expires_at, quota, spend_5h, spend_1d, spend_7d,
  requests_per_minute, input_tokens_per_minute, output_tokens_per_minute, concurrency ON key
FOR EACH ROW EXECUTE FUNCTION refuse('what a key is does not change');

CREATE TRIGGER key_revoked_once BEFORE UPDATE OF revoked_at ON key FOR EACH ROW
WHEN (OLD.revoked_at IS NOT NULL) EXECUTE FUNCTION refuse('a key is revoked once');

CREATE TRIGGER key_kept BEFORE DELETE OR TRUNCATE ON key
FOR EACH STATEMENT EXECUTE FUNCTION refuse('keys are never deleted');

-- Balances: they move with transfers and holds, and not otherwise -------------------------------------------------

-- Depth 0 is a statement that somebody sent; the triggers below are deeper.
CREATE TRIGGER account_posted BEFORE UPDATE OF posted, last_transfer ON account FOR EACH ROW
WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse('posted changes by a transfer only');

CREATE TRIGGER account_held BEFORE UPDATE OF held, moves, moved_by ON account FOR EACH ROW
WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse('held changes by a hold only');

CREATE FUNCTION transfer_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE explained boolean := true;
BEGIN
  -- A settle, which every call has, is asked by itself: a question costs by its length, whatever of it is evaluated.
  IF NEW.kind = 'settle' AND NEW.charge_id IS NOT NULL THEN
    explained := EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id
      AND c.state = 'settled' AND c.charged = NEW.amount);
  ELSIF NEW.charge_id IS NOT NULL THEN
    explained := EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id
      AND CASE NEW.kind
        WHEN 'shortfall' THEN c.state = 'settled' AND c.shortfall = NEW.amount
        WHEN 'limit' THEN c.state = 'settled' AND c.charged = NEW.amount AND EXISTS(SELECT 1 FROM hold h
          WHERE h.wallet_id = c.wallet_id AND h.charge_id = c.id AND h.account_id = NEW.debit_id)
        ELSE c.settled_at IS NOT NULL END);
  END IF;
  IF NOT explained THEN
    RAISE EXCEPTION USING MESSAGE = 'a transfer that its charge does not explain',
      ERRCODE = 'integrity_constraint_violation';
  END IF;
  -- A settle is between the wallet of its charge and revenue: nothing to look up.
  IF NEW.kind <> 'settle' THEN
    IF NOT EXISTS(SELECT 1 FROM account WHERE wallet_id IN (NEW.wallet_id, 'operator') AND id = NEW.debit_id)
      OR NOT EXISTS(SELECT 1 FROM account WHERE wallet_id IN (NEW.wallet_id, 'operator') AND id = NEW.credit_id)
    THEN
      RAISE EXCEPTION USING MESSAGE = 'a transfer between unknown accounts', ERRCODE = 'integrity_constraint_violation';
    END IF;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER transfer_of_charge BEFORE INSERT ON transfer FOR EACH ROW EXECUTE FUNCTION transfer_judge();

CREATE FUNCTION transfer_apply() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE account SET posted = posted - NEW.amount, last_transfer = NEW.id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.debit_id;
  UPDATE account SET posted = posted + NEW.amount, last_transfer = NEW.id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.credit_id;
  RETURN NULL;
END $$;
CREATE TRIGGER transfer_apply AFTER INSERT ON transfer FOR EACH ROW EXECUTE FUNCTION transfer_apply();

-- Holds: each move of an account has the next number, and one hold was taken or freed under it --------------------

CREATE FUNCTION hold_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF NEW.closed IS NOT NULL OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id
    AND c.id = NEW.charge_id AND c.state IN ('reserved', 'streaming'))
  THEN
    RAISE EXCEPTION USING MESSAGE = 'a hold is taken open, by an open charge, as the next move of its account',
      ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER hold_born BEFORE INSERT ON hold FOR EACH ROW EXECUTE FUNCTION hold_judge();

CREATE FUNCTION hold_taken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE account SET held = held + NEW.amount, moves = NEW.seq, moved_by = NEW.charge_id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.account_id AND moves + 1 = NEW.seq;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING MESSAGE = 'a hold is taken open, by an open charge, as the next move of its account',
      ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER hold_taken AFTER INSERT ON hold FOR EACH ROW EXECUTE FUNCTION hold_taken();

CREATE FUNCTION hold_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  IF OLD.closed IS NOT NULL OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id
    AND c.id = NEW.charge_id AND c.settled_at IS NOT NULL)
  THEN
    RAISE EXCEPTION USING MESSAGE = 'a hold is freed once, by the end of its charge',
      ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER hold_end BEFORE UPDATE OF closed ON hold FOR EACH ROW EXECUTE FUNCTION hold_end();

CREATE FUNCTION hold_freed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  UPDATE account SET held = held - OLD.amount, moves = NEW.closed, moved_by = NEW.charge_id
    WHERE wallet_id = NEW.wallet_id AND id = NEW.account_id AND moves + 1 = NEW.closed;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING MESSAGE = 'held changes by a hold only', ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER hold_freed AFTER UPDATE OF closed ON hold FOR EACH ROW WHEN (NEW.closed IS NOT NULL)
EXECUTE FUNCTION hold_freed();

-- Charges ---------------------------------------------------------------------------------------------------------

CREATE FUNCTION charge_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE wrong text;
BEGIN
  IF OLD.settled_at IS NOT NULL THEN
    wrong := 'a charge that has ended does not change';
  ELSIF NEW.state <> OLD.state AND NOT (CASE NEW.state
      WHEN 'streaming' THEN OLD.state = 'reserved'
      WHEN 'orphaned' THEN OLD.state IN ('reserved', 'streaming')
      WHEN 'settled' THEN true
      WHEN 'released' THEN true
      ELSE false END)
  THEN
    wrong := 'a charge cannot go from that state to this';
  ELSIF NEW.idem_key IS DISTINCT FROM OLD.idem_key AND (NEW.idem_key IS NOT NULL OR NEW.state <> 'released') THEN
    wrong := 'an idempotency key is freed by a release only';
  ELSIF NEW.charged > 0 AND NEW.charged > (SELECT COALESCE(SUM(h.amount), 0) FROM hold h
      WHERE h.wallet_id = NEW.wallet_id AND h.charge_id = NEW.id AND h.account_id = NEW.wallet_id)
  THEN
    wrong := 'charged is more than held';
  ELSE
    RETURN NEW;
  END IF;
  RAISE EXCEPTION USING MESSAGE = wrong, ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER charge_change BEFORE UPDATE ON charge FOR EACH ROW EXECUTE FUNCTION charge_judge();

CREATE FUNCTION charge_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE freed record;
BEGIN
  -- One by one, since each is the next move of its account.
  FOR freed IN (
    SELECT account_id, seq FROM hold WHERE wallet_id = NEW.wallet_id AND charge_id = NEW.id AND closed IS NULL
  ) LOOP
    UPDATE hold SET closed =
        (SELECT a.moves + 1 FROM account a WHERE a.wallet_id = NEW.wallet_id AND a.id = freed.account_id)
      WHERE wallet_id = NEW.wallet_id AND charge_id = NEW.id AND account_id = freed.account_id AND seq = freed.seq;
  END LOOP;
  RETURN NULL;
END $$;
CREATE TRIGGER charge_end AFTER UPDATE OF state ON charge FOR EACH ROW WHEN (NEW.settled_at IS NOT NULL)
EXECUTE FUNCTION charge_end();

-- What other replicas keep at hand, and must hear of --------------------------------------------------------------

CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('faregate', TG_ARGV[0] || ':' || NEW.id);
  RETURN NULL;
END $$;
CREATE TRIGGER key_told AFTER UPDATE ON key FOR EACH ROW EXECUTE FUNCTION tell('key');
CREATE TRIGGER price_told AFTER INSERT ON price FOR EACH ROW EXECUTE FUNCTION tell('price');

INSERT INTO account(wallet_id, id, kind, name, created_at) VALUES
  ('operator', 'world', 'operator', 'world', 0),
  ('operator', 'revenue', 'operator', 'revenue', 0),
  ('operator', 'limits', 'operator', 'limits', 0),
  ('operator', 'promo', 'operator', 'promo', 0),
  ('operator', 'shortfall', 'operator', 'shortfall', 0),
  ('operator', 'crash_loss', 'operator', 'crash_loss', 0),
  ('operator', 'error_loss', 'operator', 'error_loss', 0),
  ('operator', 'abandon_loss', 'operator', 'abandon_loss', 0);
