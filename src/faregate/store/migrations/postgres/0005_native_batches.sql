-- Upstream's own batches: the table of ../sqlite/0005_native_batches.sql, column by column, and the same refusals under
-- the same words.

CREATE TABLE native_batch(
  wallet_id text NOT NULL,
  id text NOT NULL,
  batch_id text NOT NULL,
  upstream text NOT NULL,            -- by its name in the settings
  upstream_id text,                  -- what upstream calls it
  state text NOT NULL DEFAULT 'filling' CHECK(state IN ('filling', 'submitting', 'processing', 'ended')),
  node text NOT NULL,                -- who looks after it
  incarnation bigint NOT NULL,
  created_at bigint NOT NULL,
  ended_at bigint,
  PRIMARY KEY(wallet_id, id),
  FOREIGN KEY(wallet_id, batch_id) REFERENCES batch(wallet_id, id),
  CHECK((state = 'ended') = (ended_at IS NOT NULL)),
  CHECK(state = 'ended' OR (state = 'processing') = (upstream_id IS NOT NULL))
);
CREATE INDEX native_batch_open ON native_batch(wallet_id, id) WHERE ended_at IS NULL;
CREATE INDEX batch_request_by_runner ON batch_request(wallet_id, node, number) WHERE state = 'running';

CREATE FUNCTION native_batch_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE wrong text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    IF NEW.state <> 'filling' THEN
      wrong := 'a batch of an upstream is written down before upstream is asked';
    END IF;
  ELSIF OLD.state = 'ended' OR (OLD.upstream_id IS NOT NULL AND NEW.upstream_id IS DISTINCT FROM OLD.upstream_id)
    OR (NEW.state = 'processing' AND OLD.state NOT IN ('submitting', 'processing'))
    OR (NEW.state = 'ended' AND EXISTS(SELECT 1 FROM batch_request r WHERE r.wallet_id = NEW.wallet_id
      AND r.node = NEW.id AND r.incarnation = 0 AND r.state = 'running'))
  THEN
    wrong := 'a batch of an upstream is submitted once, and ends once, when it runs nothing more';
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION USING MESSAGE = wrong, ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER native_batch_born BEFORE INSERT ON native_batch
FOR EACH ROW EXECUTE FUNCTION native_batch_judge();
CREATE TRIGGER native_batch_end BEFORE UPDATE OF state, upstream_id ON native_batch
FOR EACH ROW EXECUTE FUNCTION native_batch_judge();

CREATE TRIGGER native_batch_facts BEFORE UPDATE OF wallet_id, id, batch_id, upstream, created_at ON native_batch
FOR EACH ROW EXECUTE FUNCTION refuse('what a batch of an upstream is does not change');

CREATE FUNCTION batch_request_runner_judge() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
  IF NEW.state = 'running' AND NEW.incarnation = 0 AND NOT EXISTS(SELECT 1 FROM native_batch n
    WHERE n.wallet_id = NEW.wallet_id AND n.id = NEW.node AND n.batch_id = NEW.batch_id AND n.state = 'filling')
  THEN
    RAISE EXCEPTION USING MESSAGE = 'a request joins a batch of an upstream before that is submitted',
      ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER batch_request_runner BEFORE UPDATE OF state, node, incarnation ON batch_request
FOR EACH ROW EXECUTE FUNCTION batch_request_runner_judge();
