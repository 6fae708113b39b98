"""What the ledger's database itself refuses of upstreams' batches, provoked in raw SQL."""

import pytest

from tests.store.raw import Raw
from tests.store.test_refusals_columns import bare, insert

JOIN = "UPDATE batch_request SET state = 'running', node = 'n', incarnation = 0 WHERE batch_id = 'q'"
SUBMITTING = "UPDATE native_batch SET state = 'submitting'"
PROCESSING = "UPDATE native_batch SET state = 'processing', upstream_id = 'u'"
ENDED = "UPDATE native_batch SET state = 'ended', ended_at = 1"
BACK = "UPDATE batch_request SET state = 'waiting', node = NULL, incarnation = NULL"


@pytest.fixture
def opened(raw: Raw) -> Raw:
    """A batch `q` with one request, and an upstream's batch `n` for it."""
    raw.do(insert("batch", id="'q'"), insert("charge", id="'c'", tier="'batch'", held="100"), raw.hold("c", 100))
    raw.do(insert("batch_request"), insert("native_batch"))
    return raw


@pytest.mark.parametrize("state", ["submitting", "processing", "ended"])
def test_it_is_written_down_before_upstream_is_asked(opened: Raw, state: str) -> None:
    named = {"submitting": {}, "processing": {"upstream_id": "'u'"}, "ended": {"ended_at": "1"}}[state]
    opened.refuses(insert("native_batch", id="'m'", state=f"'{state}'", **named), because="before upstream is asked")


def test_it_has_a_name_upstream_only_after_upstream_was_asked(opened: Raw) -> None:
    opened.refuses(PROCESSING, because="submitted once")
    opened.do(SUBMITTING, PROCESSING)
    opened.refuses("UPDATE native_batch SET upstream_id = 'v'", because="submitted once")


def test_it_ends_once_and_when_it_runs_nothing_more(opened: Raw) -> None:
    opened.do(JOIN, SUBMITTING)
    opened.refuses(ENDED, because="ends once")
    opened.do(BACK, ENDED)
    opened.refuses(SUBMITTING + ", ended_at = NULL", because="ends once")


def test_a_request_joins_one_of_its_own_batch_before_that_is_submitted(opened: Raw) -> None:
    opened.refuses(JOIN.replace("'n'", "'none'"), because="joins a batch of an upstream")
    opened.do(insert("batch", id="'other'"), insert("native_batch", id="'m'", batch_id="'other'"))
    opened.refuses(JOIN.replace("'n'", "'m'"), because="joins a batch of an upstream")
    opened.do(SUBMITTING)
    opened.refuses(JOIN, because="joins a batch of an upstream")


@pytest.mark.parametrize("column", ["wallet_id", "id", "batch_id", "upstream", "created_at"])
def test_what_it_is_does_not_change(opened: Raw, column: str) -> None:
    opened.refuses(f"UPDATE native_batch SET {column} = {column}", because="what a batch of an upstream is")


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "'x'"},
        {"state": "'processing'"},
        {"upstream_id": "'u'"},
        {"state": "'submitting'", "upstream_id": "'u'"},
        {"state": "'ended'"},
        {"ended_at": "1"},
    ],
)
def test_it_says_one_thing_with_all_its_columns(opened: Raw, changed: dict[str, str]) -> None:
    opened.refuses(*bare(opened), insert("native_batch", **({"id": "'m'"} | changed)), because="CHECK")


def test_it_belongs_to_a_batch(opened: Raw) -> None:
    opened.refuses(insert("native_batch", id="'m'", batch_id="'none'"), because="FOREIGN KEY")
