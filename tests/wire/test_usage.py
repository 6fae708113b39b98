"""A usage is counts in disjoint classes: what went in is their sum, and output stands beside it."""

from hypothesis import given
from hypothesis import strategies as st

from faregate.wire.usage import NOTHING, Usage

COUNTS = st.integers(0, 10**9)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_all_input_is_plain_cached_and_written_together(a: int, b: int, c: int, d: int, output: int) -> None:
    usage = Usage(input=a, cache_read=b, cache_write_5m=c, cache_write_1h=d, output=output)

    assert usage.input_total == a + b + c + d


def test_nothing_is_nothing() -> None:
    assert Usage() == NOTHING
    assert (NOTHING.input_total, NOTHING.output) == (0, 0)
