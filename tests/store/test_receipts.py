"""A receipt reads back every column in its place, and stands in an error as plain JSON."""

import json

from faregate.core.ledger import Basis, Outcome, Receipt, State, Tier
from faregate.core.money import Nanos
from faregate.store import receipts
from faregate.store.statements import RECEIPT_COLUMNS
from faregate.wire.usage import Usage

ROW = (
    "m",
    "req_1",
    "w",
    "k",
    "settled",
    "client_gone",
    "small",
    1,
    2,
    3,
    4,
    5,
    "counted",
    "p@1",
    90,
    80,
    7,
    3,
    1_700_000_000_007,
)


def test_every_column_has_its_place() -> None:
    assert len(ROW) + 3 == len(RECEIPT_COLUMNS.split(","))
    assert receipts.receipt((*ROW, 9, "up", "batch")) == Receipt(
        id="m",
        request_id="req_1",
        wallet_id="w",
        key_id="k",
        state=State.SETTLED,
        outcome=Outcome.CLIENT_GONE,
        model="small",
        usage=Usage(input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5),
        basis=Basis.COUNTED,
        price_version="p@1",
        max=Nanos(90),
        charged=Nanos(80),
        shortfall=Nanos(7),
        attempts=3,
        created_at_ms=1_700_000_000_007,
        settled_at_ms=9,
        upstream="up",
        tier=Tier.BATCH,
    )


def test_an_open_charge_has_neither_outcome_nor_end() -> None:
    row = [*ROW, None, None, "standard"]
    row[4], row[5] = "reserved", None
    receipt = receipts.receipt(row)

    assert (receipt.state, receipt.outcome, receipt.settled_at_ms) == (State.RESERVED, None, None)
    assert receipts.as_json(receipt)["settled_at"] is None
    assert receipts.as_json(receipt)["outcome"] is None


def test_as_json_it_shows_credits_and_times_as_people_write_them() -> None:
    shown = receipts.as_json(receipts.receipt((*ROW, 1_700_000_001_000, "up", "standard")))

    assert json.loads(json.dumps(shown)) == shown
    assert "up" not in shown.values(), "that is the operator's"
    assert (shown["charged"], shown["max"], shown["shortfall"]) == ("0.08", "0.09", "0.007")
    assert (shown["created_at"], shown["settled_at"]) == ("2023-11-14T22:13:20.007000Z", "2023-11-14T22:13:21Z")
    assert (shown["usage"]["input_tokens"], shown["usage"]["cache_read_input_tokens"]) == (1, 3)
