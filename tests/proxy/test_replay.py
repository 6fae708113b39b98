"""A copy is the whole answer or none, and says nothing that was true for a moment only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.money import Nanos
from faregate.proxy.port import Keeping
from faregate.proxy.replay import Copy

HEADERS = [
    (b"content-type", b"application/json"),
    (b"x-credits-max", b"12.5"),
    (b"x-credits-remaining", b"100"),
    (b"x-quota-remaining-credits", b"10"),
    (b"anthropic-ratelimit-requests-remaining", b"9"),
    (b"x-price-version", b"small@2025"),
]


def copy(bytes_max: int = 1_000, *, stream: bool = False) -> Copy:
    return Copy(Keeping(kept_ms=5_000, bytes_max=bytes_max), HEADERS, stream=stream)


@given(st.lists(st.binary(max_size=50)), st.integers(0, 300))
def test_what_fits_is_kept_to_the_last_byte_and_what_does_not_is_not_kept(pieces: list[bytes], bytes_max: int) -> None:
    made, whole = copy(bytes_max), b"".join(pieces)
    for piece in pieces:
        made.add(piece)
    answer = made.answer(Nanos(1), 0)

    assert (answer.body if answer is not None else None) == (whole if len(whole) <= bytes_max else None)


def test_what_has_outgrown_the_bound_does_not_come_back_with_a_small_piece() -> None:
    made = copy(10)
    made.add(b"a" * 11)
    made.add(b"")

    assert made.answer(Nanos(1), 0) is None


@pytest.mark.parametrize("stream", [True, False])
def test_the_quote_is_kept_and_the_moment_is_not(*, stream: bool) -> None:
    answer = copy(stream=stream).answer(Nanos(12_500), at_ms=100)

    assert answer is not None
    named = dict(answer.headers)
    assert named.pop("x-credits-charged", None) == (None if stream else "12.5")
    assert named == {"content-type": "application/json", "x-credits-max": "12.5", "x-price-version": "small@2025"}
    assert answer.kept_until_ms == 5_100
