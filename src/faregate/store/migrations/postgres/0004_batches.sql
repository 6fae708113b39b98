-- Batches: the tables of ../sqlite/0004_batches.sql, column by column, and the same refusals under the same words.

ALTER TABLE charge ADD COLUMN tier text NOT NULL DEFAULT 'standard' CHECK(tier IN ('standard', 'batch'));

CREATE TRIGGER charge_tier BEFORE UPDATE OF tier ON charge
FOR EACH ROW EXECUTE FUNCTION refuse('what a charge is does not change');

DROP INDEX IF EXISTS charge_open;
CREATE INDEX charge_open_calls ON charge(node, incarnation) WHERE settled_at IS NULL AND tier = 'standard';
DROP INDEX IF EXISTS charge_open_by_key;
CREATE INDEX charge_open_calls_by_key ON charge(wallet_id, key_id) WHERE settled_at IS NULL AND tier = 'standard';

CREATE TABLE batch(
  wallet_id text NOT NULL,
  id text NOT NULL,
  key_id text NOT NULL,              -- who made it; every key of the wallet may see it
  state text NOT NULL DEFAULT 'creating' CHECK(state IN ('creating', 'in_progress', 'canceling', 'ended')),
  total bigint NOT NULL CHECK(total > 0),
  processing bigint NOT NULL CHECK(processing >= 0),
  succeeded bigint NOT NULL DEFAULT 0 CHECK(succeeded >= 0),
  errored bigint NOT NULL DEFAULT 0 CHECK(errored >= 0),
  canceled bigint NOT NULL DEFAULT 0 CHECK(canceled >= 0),
  expired bigint NOT NULL DEFAULT 0 CHECK(expired >= 0),
  version text NOT NULL,             -- anthropic-version, and the betas, of all its calls
  beta text,
  node text NOT NULL,                -- who writes it while it is 'creating'
  incarnation bigint NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  cancel_at bigint,                  -- when cancelling was asked for
  ended_at bigint,
  archived_at bigint,                -- its results are no longer kept
  deleted_at bigint,                 -- nobody sees it any more
  emptied bigint NOT NULL DEFAULT 0 CHECK(emptied IN (0, 1)), -- its requests are gone from here
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id),
  CHECK(total = processing + succeeded + errored + canceled + expired),
  CHECK((state = 'ended') = (ended_at IS NOT NULL)),
  CHECK(state <> 'ended' OR processing = 0),
  CHECK(state = 'ended' OR (archived_at IS NULL AND deleted_at IS NULL AND emptied = 0))
);
CREATE INDEX batch_open ON batch(wallet_id, id) WHERE ended_at IS NULL;
CREATE INDEX batch_kept ON batch(ended_at) WHERE ended_at IS NOT NULL AND emptied = 0;

CREATE TABLE batch_request(
  wallet_id text NOT NULL,
  batch_id text NOT NULL,
  number bigint NOT NULL CHECK(number >= 0), -- its place in the batch
  custom_id text NOT NULL,
  charge_id text NOT NULL,           -- the message id
  state text NOT NULL DEFAULT 'waiting'
    CHECK(state IN ('waiting', 'running', 'succeeded', 'errored', 'canceled', 'expired')),
  again_at bigint NOT NULL DEFAULT 0, -- not before
  tries bigint NOT NULL DEFAULT 0 CHECK(tries >= 0), -- how often an upstream could not serve it
  crashes bigint NOT NULL DEFAULT 0 CHECK(crashes >= 0), -- how often its runner went away
  wasted bigint NOT NULL DEFAULT 0 CHECK(wasted >= 0), -- nanodollars that tries cost and nobody pays
  node text,                         -- who runs it
  incarnation bigint,
  params bytea,                      -- JSON, as the caller sent it; gone when it has ended
  result bytea,                      -- JSON: a message, or an error's envelope
  PRIMARY KEY(wallet_id, batch_id, number),
  UNIQUE(wallet_id, batch_id, custom_id),
  UNIQUE(wallet_id, charge_id),
  FOREIGN KEY(wallet_id, batch_id) REFERENCES batch(wallet_id, id),
  FOREIGN KEY(wallet_id, charge_id) REFERENCES charge(wallet_id, id),
  CHECK((state IN ('succeeded', 'errored')) = (result IS NOT NULL)),
  CHECK((state IN ('waiting', 'running')) = (params IS NOT NULL)),
  CHECK((state = 'running') = (node IS NOT NULL)),
  CHECK((node IS NULL) = (incarnation IS NULL))
);
CREATE INDEX batch_request_waiting ON batch_request(wallet_id, batch_id, again_at, number) WHERE state = 'waiting';
CREATE INDEX batch_request_running ON batch_request(node, incarnation) WHERE state = 'running';

CREATE FUNCTION batch_request_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE wrong text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'waiting' OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id
      AND c.id = NEW.charge_id AND c.tier = 'batch' AND c.settled_at IS NULL)
    THEN
      wrong := 'a request of a batch begins waiting, with an open charge of its tier';
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    IF EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = OLD.wallet_id AND c.id = OLD.charge_id
      AND c.settled_at IS NULL)
    THEN
      wrong := 'a request of a batch is kept until its charge has ended';
    END IF;
  -- A result is written with the end of its charge or not at all.
  ELSIF OLD.state IN ('succeeded', 'errored', 'canceled', 'expired') OR NOT EXISTS(SELECT 1 FROM charge c
    WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id AND c.state = CASE NEW.state
      WHEN 'succeeded' THEN 'settled' WHEN 'waiting' THEN 'reserved' WHEN 'running' THEN 'reserved'
      ELSE 'released' END)
  THEN
    wrong := 'a request of a batch ends once, as its charge does';
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = wrong, ERRCODE = 'integrity_constraint_violation';
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER batch_request_born BEFORE INSERT ON batch_request
FOR EACH ROW EXECUTE FUNCTION batch_request_judge();
CREATE TRIGGER batch_request_end BEFORE UPDATE OF state, result ON batch_request
FOR EACH ROW EXECUTE FUNCTION batch_request_judge();
CREATE TRIGGER batch_request_kept BEFORE DELETE ON batch_request
FOR EACH ROW EXECUTE FUNCTION batch_request_judge();

CREATE TRIGGER batch_request_facts BEFORE UPDATE OF wallet_id, batch_id, number, custom_id, charge_id ON batch_request
FOR EACH ROW EXECUTE FUNCTION refuse('what a request of a batch is does not change');

CREATE TRIGGER batch_facts BEFORE UPDATE OF wallet_id, id, key_id, total, version, beta, created_at, expires_at ON batch
FOR EACH ROW EXECUTE FUNCTION refuse('what a batch is does not change');
