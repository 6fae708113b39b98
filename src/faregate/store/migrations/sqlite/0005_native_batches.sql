-- Upstream's own batches: requests of one batch that were handed to an upstream together, to be run there at its half
-- price.
--
-- Such a request is 'running', and what runs it is the row here: batch_request.node is its id, with incarnation 0. The
-- process named here only looks after it. A row is written before upstream is asked, so that a process which dies in
-- between leaves word of what may have been made.

CREATE TABLE native_batch(
  wallet_id TEXT NOT NULL,
  id TEXT NOT NULL,
  batch_id TEXT NOT NULL,
  upstream TEXT NOT NULL,            -- by its name in the settings
  upstream_id TEXT,                  -- what upstream calls it
  state TEXT NOT NULL DEFAULT 'filling' CHECK(state IN ('filling', 'submitting', 'processing', 'ended')),
  node TEXT NOT NULL,                -- who looks after it
  incarnation INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  ended_at INTEGER,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, batch_id) REFERENCES batch(wallet_id, id),
  CHECK((state = 'ended') = (ended_at IS NOT NULL)),
  CHECK(state = 'ended' OR (state = 'processing') = (upstream_id IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX native_batch_open ON native_batch(wallet_id, id) WHERE ended_at IS NULL;
CREATE INDEX batch_request_by_runner ON batch_request(wallet_id, node, number) WHERE state = 'running';

CREATE TRIGGER native_batch_born BEFORE INSERT ON native_batch
WHEN NEW.state <> 'filling'
BEGIN SELECT RAISE(ABORT, 'a batch of an upstream is written down before upstream is asked'); END;

CREATE TRIGGER native_batch_end BEFORE UPDATE OF state, upstream_id ON native_batch
WHEN OLD.state = 'ended' OR (OLD.upstream_id IS NOT NULL AND NEW.upstream_id IS NOT OLD.upstream_id)
  OR (NEW.state = 'processing' AND OLD.state NOT IN ('submitting', 'processing'))
  OR (NEW.state = 'ended' AND EXISTS(SELECT 1 FROM batch_request r WHERE r.wallet_id = NEW.wallet_id
    AND r.node = NEW.id AND r.incarnation = 0 AND r.state = 'running'))
BEGIN SELECT RAISE(ABORT, 'a batch of an upstream is submitted once, and ends once, when it runs nothing more'); END;

CREATE TRIGGER native_batch_facts BEFORE UPDATE OF wallet_id, id, batch_id, upstream, created_at ON native_batch
BEGIN SELECT RAISE(ABORT, 'what a batch of an upstream is does not change'); END;

CREATE TRIGGER batch_request_runner BEFORE UPDATE OF state, node, incarnation ON batch_request
WHEN NEW.state = 'running' AND NEW.incarnation = 0 AND NOT EXISTS(SELECT 1 FROM native_batch n
  WHERE n.wallet_id = NEW.wallet_id AND n.id = NEW.node AND n.batch_id = NEW.batch_id AND n.state = 'filling')
BEGIN SELECT RAISE(ABORT, 'a request joins a batch of an upstream before that is submitted'); END;
