-- Batches: many calls in one request, each with a charge of its own that is held from the start and ends by itself.
--
-- What a charge costs is its usage times its price version, and half of that, rounded down, where its tier is 'batch'.
-- Such a charge is its batch's and no node's: it outlives the process that wrote it, so it is never swept, and it counts
-- in no key's concurrency.

ALTER TABLE charge ADD COLUMN tier TEXT NOT NULL DEFAULT 'standard' CHECK(tier = 'standard' OR tier = 'batch');

CREATE TRIGGER charge_tier BEFORE UPDATE OF tier ON charge
BEGIN SELECT RAISE(ABORT, 'what a charge is does not change'); END;

DROP INDEX IF EXISTS charge_open;
CREATE INDEX charge_open_calls ON charge(node, incarnation) WHERE settled_at IS NULL AND tier = 'standard';
DROP INDEX IF EXISTS charge_open_by_key;
CREATE INDEX charge_open_calls_by_key ON charge(wallet_id, key_id, tier, settled_at)
  WHERE settled_at IS NULL AND tier = 'standard';

CREATE TABLE batch(
  wallet_id TEXT NOT NULL,
  id TEXT NOT NULL,
  key_id TEXT NOT NULL,              -- who made it; every key of the wallet may see it
  state TEXT NOT NULL DEFAULT 'creating' CHECK(state IN ('creating', 'in_progress', 'canceling', 'ended')),
  total INTEGER NOT NULL CHECK(total > 0),
  processing INTEGER NOT NULL CHECK(processing >= 0),
  succeeded INTEGER NOT NULL DEFAULT 0 CHECK(succeeded >= 0),
  errored INTEGER NOT NULL DEFAULT 0 CHECK(errored >= 0),
  canceled INTEGER NOT NULL DEFAULT 0 CHECK(canceled >= 0),
  expired INTEGER NOT NULL DEFAULT 0 CHECK(expired >= 0),
  version TEXT NOT NULL,             -- anthropic-version, and the betas, of all its calls
  beta TEXT,
  node TEXT NOT NULL,                -- who writes it while it is 'creating'
  incarnation INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  cancel_at INTEGER,                 -- when cancelling was asked for
  ended_at INTEGER,
  archived_at INTEGER,               -- its results are no longer kept
  deleted_at INTEGER,                -- nobody sees it any more
  emptied INTEGER NOT NULL DEFAULT 0 CHECK(emptied IN (0, 1)), -- its requests are gone from here
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, key_id) REFERENCES key(wallet_id, id),
  CHECK(total = processing + succeeded + errored + canceled + expired),
  CHECK((state = 'ended') = (ended_at IS NOT NULL)),
  CHECK(state <> 'ended' OR processing = 0),
  CHECK(state = 'ended' OR (archived_at IS NULL AND deleted_at IS NULL AND emptied = 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_open ON batch(wallet_id, id) WHERE ended_at IS NULL;
CREATE INDEX batch_kept ON batch(ended_at) WHERE ended_at IS NOT NULL AND emptied = 0;

CREATE TABLE batch_request(
  wallet_id TEXT NOT NULL,
  batch_id TEXT NOT NULL,
  number INTEGER NOT NULL CHECK(number >= 0), -- its place in the batch
  custom_id TEXT NOT NULL,
  charge_id TEXT NOT NULL,           -- the message id
  state TEXT NOT NULL DEFAULT 'waiting'
    CHECK(state IN ('waiting', 'running', 'succeeded', 'errored', 'canceled', 'expired')),
  again_at INTEGER NOT NULL DEFAULT 0, -- not before
  tries INTEGER NOT NULL DEFAULT 0 CHECK(tries >= 0), -- how often an upstream could not serve it
  crashes INTEGER NOT NULL DEFAULT 0 CHECK(crashes >= 0), -- how often its runner went away
  wasted INTEGER NOT NULL DEFAULT 0 CHECK(wasted >= 0), -- nanodollars that tries cost and nobody pays
  node TEXT,                         -- who runs it
  incarnation INTEGER,
  params BLOB,                       -- JSON, as the caller sent it; gone when it has ended
  result BLOB,                       -- JSON: a message, or an error's envelope
  PRIMARY KEY(wallet_id, batch_id, number),
  UNIQUE(wallet_id, batch_id, custom_id),
  UNIQUE(wallet_id, charge_id),
  FOREIGN KEY(wallet_id, batch_id) REFERENCES batch(wallet_id, id),
  FOREIGN KEY(wallet_id, charge_id) REFERENCES charge(wallet_id, id),
  CHECK((state IN ('succeeded', 'errored')) = (result IS NOT NULL)),
  CHECK((state IN ('waiting', 'running')) = (params IS NOT NULL)),
  CHECK((state = 'running') = (node IS NOT NULL)),
  CHECK((node IS NULL) = (incarnation IS NULL))
) STRICT;
CREATE INDEX batch_request_waiting ON batch_request(wallet_id, batch_id, again_at, number) WHERE state = 'waiting';
CREATE INDEX batch_request_running ON batch_request(node, incarnation) WHERE state = 'running';

CREATE TRIGGER batch_request_born BEFORE INSERT ON batch_request
WHEN NEW.state <> 'waiting' OR NOT EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = NEW.wallet_id
  AND c.id = NEW.charge_id AND c.tier = 'batch' AND c.settled_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'a request of a batch begins waiting, with an open charge of its tier'); END;

-- A result is written with the end of its charge or not at all.
CREATE TRIGGER batch_request_end BEFORE UPDATE OF state, result ON batch_request
WHEN OLD.state IN ('succeeded', 'errored', 'canceled', 'expired') OR NOT EXISTS(SELECT 1 FROM charge c
  WHERE c.wallet_id = NEW.wallet_id AND c.id = NEW.charge_id AND c.state = CASE NEW.state
    WHEN 'succeeded' THEN 'settled' WHEN 'waiting' THEN 'reserved' WHEN 'running' THEN 'reserved' ELSE 'released' END)
BEGIN SELECT RAISE(ABORT, 'a request of a batch ends once, as its charge does'); END;

CREATE TRIGGER batch_request_facts BEFORE UPDATE OF wallet_id, batch_id, number, custom_id, charge_id ON batch_request
BEGIN SELECT RAISE(ABORT, 'what a request of a batch is does not change'); END;

CREATE TRIGGER batch_request_kept BEFORE DELETE ON batch_request
WHEN EXISTS(SELECT 1 FROM charge c WHERE c.wallet_id = OLD.wallet_id AND c.id = OLD.charge_id AND c.settled_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'a request of a batch is kept until its charge has ended'); END;

CREATE TRIGGER batch_facts BEFORE UPDATE OF wallet_id, id, key_id, total, version, beta, created_at, expires_at ON batch
BEGIN SELECT RAISE(ABORT, 'what a batch is does not change'); END;
