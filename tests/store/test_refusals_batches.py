"""What the ledger's database itself refuses of batches, provoked in raw SQL."""

import pytest

from tests.store.books import WALLET
from tests.store.raw import Raw
from tests.store.test_refusals_columns import bare, insert

RUN = "UPDATE batch_request SET state = 'running', node = 'main', incarnation = 1 WHERE batch_id = 'q'"
ENDED = "UPDATE batch_request SET state = '{}', params = NULL, node = NULL, incarnation = NULL, result = {}"
SUCCEEDED, ERRORED = ENDED.format("succeeded", "x'00'"), ENDED.format("errored", "x'00'")
CANCELED, EXPIRED = ENDED.format("canceled", "NULL"), ENDED.format("expired", "NULL")


@pytest.fixture
def waiting(raw: Raw) -> Raw:
    """A batch `q` with one request, whose charge `c` holds 100."""
    raw.do(insert("batch", id="'q'"), insert("charge", id="'c'", tier="'batch'", held="100"), raw.hold("c", 100))
    raw.do(insert("batch_request"))
    return raw


def test_a_request_begins_waiting_with_an_open_charge_of_its_tier(waiting: Raw) -> None:
    second = {"number": "1", "custom_id": "'y'"}
    waiting.do(insert("charge", id="'s'"), insert("charge", id="'e'", tier="'batch'"))

    running = {"state": "'running'", "node": "'main'", "incarnation": "1"}
    waiting.refuses(insert("batch_request", **second, charge_id="'e'", **running), because="begins waiting")
    waiting.refuses(insert("batch_request", **second, charge_id="'s'"), because="begins waiting")
    waiting.refuses(insert("batch_request", **second, charge_id="'none'"), because="begins waiting")
    waiting.do(waiting.released("e"))
    waiting.refuses(insert("batch_request", **second, charge_id="'e'"), because="begins waiting")


@pytest.mark.parametrize("end", [SUCCEEDED, ERRORED, CANCELED, EXPIRED])
def test_no_request_ends_before_its_charge_has(waiting: Raw, end: str) -> None:
    waiting.do(RUN)
    waiting.refuses(end, because="as its charge does")


@pytest.mark.parametrize("end", [ERRORED, CANCELED, EXPIRED])
def test_what_was_billed_has_a_message_and_what_was_not_has_none(waiting: Raw, end: str) -> None:
    waiting.do(RUN, waiting.settled("c", 0))
    waiting.refuses(end, because="as its charge does")
    waiting.refuses(RUN, because="as its charge does")
    waiting.do(SUCCEEDED)


def test_what_was_given_back_has_no_message(waiting: Raw) -> None:
    waiting.do(waiting.released("c"))
    waiting.refuses(SUCCEEDED, because="as its charge does")
    waiting.do(CANCELED)


def test_what_has_ended_does_not_change(waiting: Raw) -> None:
    waiting.do(waiting.released("c"), ERRORED)
    for end in (ERRORED, CANCELED, EXPIRED, "UPDATE batch_request SET result = x'01'"):
        waiting.refuses(end, because="ends once")


def test_a_request_is_kept_until_its_charge_has_ended(waiting: Raw) -> None:
    waiting.refuses("DELETE FROM batch_request", because="kept until")
    waiting.do(waiting.released("c"), CANCELED, "DELETE FROM batch_request")


@pytest.mark.parametrize("column", ["wallet_id", "batch_id", "number", "custom_id", "charge_id"])
def test_what_a_request_is_does_not_change(waiting: Raw, column: str) -> None:
    waiting.refuses(f"UPDATE batch_request SET {column} = {column}", because="what a request of a batch is")


@pytest.mark.parametrize(
    "column", ["wallet_id", "id", "key_id", "total", "version", "beta", "created_at", "expires_at"]
)
def test_what_a_batch_is_does_not_change(waiting: Raw, column: str) -> None:
    waiting.refuses(f"UPDATE batch SET {column} = {column}", because="what a batch is")


def test_names_and_charges_are_taken_once(waiting: Raw) -> None:
    waiting.do(insert("charge", id="'d'", tier="'batch'"))
    waiting.refuses(insert("batch_request", number="1", charge_id="'d'"), because="UNIQUE.*custom_id")
    waiting.refuses(insert("batch_request", number="1", custom_id="'y'"), because="UNIQUE.*charge_id")


def test_a_request_belongs_to_a_batch_and_a_batch_to_a_key(waiting: Raw) -> None:
    waiting.do(insert("charge", id="'d'", tier="'batch'"))
    lost = insert("batch_request", number="1", custom_id="'y'", charge_id="'d'", batch_id="'none'")
    waiting.refuses(lost, because="FOREIGN KEY")
    waiting.refuses(insert("batch", key_id="'none'"), because="FOREIGN KEY")
    waiting.refuses("DELETE FROM batch", because="FOREIGN KEY")


def test_a_request_belongs_to_a_charge(waiting: Raw) -> None:
    row = insert("batch_request", number="1", custom_id="'y'", charge_id="'none'")
    if type(waiting).__name__ == "PostgresRaw":
        return  # With its triggers off that database looks at no foreign key either.
    waiting.refuses(*bare(waiting), row, because="FOREIGN KEY")


@pytest.mark.parametrize("column", ["processing", "succeeded", "errored", "canceled", "expired"])
def test_a_count_is_never_below_zero(raw: Raw, column: str) -> None:
    rest = "succeeded" if column == "processing" else "processing"
    row = insert("batch", **{rest: "2", column: "-1"})

    raw.refuses(row, because=f"CHECK.*({column} >= 0|batch_{column}_check)")


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "'x'"},
        {"total": "0", "processing": "0"},
        {"total": "2"},
        {"state": "'ended'"},
        {"ended_at": "1"},
        {"state": "'ended'", "ended_at": "1"},
        {"archived_at": "1"},
        {"deleted_at": "1"},
        {"emptied": "1"},
        {"state": "'ended'", "ended_at": "1", "processing": "0", "succeeded": "1", "emptied": "2"},
    ],
)
def test_a_batch_says_one_thing_with_all_its_columns(raw: Raw, changed: dict[str, str]) -> None:
    raw.refuses(insert("batch", **changed), because="CHECK")


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "'x'", "params": "NULL"},
        {"state": "'succeeded'", "params": "NULL"},
        {"state": "'errored'", "params": "NULL"},
        {"result": "x'00'"},
        {"params": "NULL"},
        {"state": "'canceled'"},
        {"state": "'running'"},
        {"node": "'main'", "incarnation": "1"},
        {"state": "'running'", "node": "'main'"},
        {"incarnation": "1"},
    ],
)
def test_a_request_says_one_thing_with_all_its_columns(waiting: Raw, changed: dict[str, str]) -> None:
    row = {"number": "1", "custom_id": "'y'", "charge_id": "'d'"} | changed
    waiting.do(insert("charge", id="'d'", tier="'batch'"))
    waiting.refuses(*bare(waiting), insert("batch_request", **row), because="CHECK")


def test_a_charge_is_of_one_tier_that_does_not_change(waiting: Raw) -> None:
    waiting.refuses(insert("charge", tier="'x'"), because="CHECK")
    waiting.refuses("UPDATE charge SET tier = 'standard' WHERE id = 'c'", because="what a charge is")
    assert waiting.funds == (1_000, 100) and WALLET
