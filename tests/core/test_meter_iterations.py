"""What upstream bills outside of its totals is read from `iterations`.

Method: lists of iterations as the SDK types them, and nonsense; the usage compared with sums by hand.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.ledger import Basis
from faregate.core.meter import TOKENS_MAX, Meter
from faregate.wire.usage import Usage

COUNTS = st.integers(0, 100_000)
COMPACTION = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, "cache_read_input_tokens": 20}


@given(COUNTS, COUNTS)
def test_a_compaction_is_billed_beside_the_totals_and_the_other_iterations_are_in_them(fresh: int, output: int) -> None:
    meter = Meter()
    meter.start({"input_tokens": fresh, "output_tokens": 1, "iterations": [COMPACTION]})
    turn = {"type": "message", "input_tokens": fresh, "output_tokens": output}
    iterations = [COMPACTION, turn, {"type": "fallback_message", "model": "another", "input_tokens": 9}]
    meter.delta({"output_tokens": output, "iterations": iterations})
    meter.stop()

    assert meter.close().basis is Basis.UPSTREAM
    assert meter.close().usage == Usage(input=fresh + 180_000, output=output + 3_500, cache_read=20)


def test_a_compactions_writes_are_divided_as_all_writes_are() -> None:
    write = {"type": "compaction", "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}
    meter = Meter()
    meter.start({"input_tokens": 1, "output_tokens": 1, "iterations": [write, write]})

    assert meter.close().usage == Usage(input=1, output=1, cache_write_5m=10, cache_write_1h=8)


def test_a_later_list_of_iterations_replaces_an_earlier_one() -> None:
    meter = Meter()
    meter.start({"input_tokens": 1, "output_tokens": 1, "iterations": [COMPACTION]})
    meter.delta({"output_tokens": 2, "iterations": []})

    assert meter.close().usage == Usage(input=1, output=2)


@pytest.mark.parametrize(
    "iterations", [None, 3, "x", [None], [[]], [{"type": ["compaction"]}], [{"type": "compaction", "input_tokens": -5}]]
)
def test_nonsense_in_iterations_counts_as_absent(iterations: Any) -> None:
    meter = Meter()
    meter.start({"input_tokens": 1, "output_tokens": 1, "iterations": iterations})

    assert meter.close().usage == Usage(input=1, output=1)


def test_many_compactions_come_to_no_more_than_the_bound() -> None:
    meter = Meter()
    meter.start({"input_tokens": 1, "iterations": [{"type": "compaction", "input_tokens": TOKENS_MAX}] * 1_000})

    assert meter.close().usage.input == TOKENS_MAX
