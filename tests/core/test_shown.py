"""A receipt reads the same wherever it is shown: credits, times of day, and usage under the wire's names.

Method: properties over times and counts, and one receipt written out by hand.
"""

from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.ledger import Basis, Outcome, Receipt, State
from faregate.core.money import Nanos
from faregate.core.shown import ReceiptView, UsageView, moment
from faregate.wire.usage import Usage

COUNTS = st.integers(0, 10**9)


@given(st.integers(0, 4_102_444_800_000))
def test_a_moment_is_exact_to_the_millisecond(ms: int) -> None:
    assert (moment(ms) - moment(0)) // timedelta(milliseconds=1) == ms
    assert moment(ms).microsecond % 1_000 == 0


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_usage_is_shown_in_classes_that_add_up_to_what_went_in(
    plain: int, read: int, five: int, hour: int, out: int
) -> None:
    usage = Usage(input=plain, cache_read=read, cache_write_5m=five, cache_write_1h=hour, output=out)
    shown = UsageView.of(usage)

    assert shown.input_tokens + shown.cache_read_input_tokens + shown.cache_creation_input_tokens == usage.input_total
    split = shown.cache_creation
    assert (split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens) == (five, hour)
    assert (shown.input_tokens, shown.output_tokens) == (plain, out)


def test_a_receipt_is_written_as_its_caller_reads_it() -> None:
    receipt = Receipt(
        id="msg_1",
        request_id="req_1",
        wallet_id="wal_1",
        key_id="k1",
        state=State.SETTLED,
        outcome=Outcome.OK,
        model="m",
        usage=Usage(input=5, output=16, cache_write_1h=7),
        basis=Basis.UPSTREAM,
        price_version="m@2025-10-15",
        max=Nanos(870_000),
        charged=Nanos(85_500),
        shortfall=Nanos(0),
        attempts=1,
        created_at_ms=1_500,
        settled_at_ms=None,
    )

    assert msgspec.to_builtins(ReceiptView.of(receipt)) == {
        "id": "msg_1",
        "request_id": "req_1",
        "wallet_id": "wal_1",
        "key_id": "k1",
        "state": "settled",
        "outcome": "ok",
        "model": "m",
        "usage": {
            "input_tokens": 5,
            "output_tokens": 16,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7},
        },
        "basis": "upstream",
        "price_version": "m@2025-10-15",
        "max": "870",
        "charged": "85.5",
        "shortfall": "0",
        "attempts": 1,
        "created_at": "1970-01-01T00:00:01.500000Z",
        "settled_at": None,
        "service_tier": "standard",
    }
