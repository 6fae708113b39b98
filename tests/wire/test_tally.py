"""Cache marks are counted, each with its time to live, and never misread."""

from typing import Any

import pytest

from faregate.wire.shape import Malformed
from faregate.wire.tally import MARKS_MAX, Tally


def tally() -> Tally:
    return Tally(strict=False, beta=False)


def test_a_mark_lives_five_minutes_unless_it_says_an_hour() -> None:
    short, long = tally(), tally()
    short.mark({"type": "ephemeral"})
    long.mark({"type": "ephemeral", "ttl": "1h"})

    assert (short.cache_5m, short.cache_1h) == (True, False)
    assert (long.cache_5m, long.cache_1h) == (False, True)


def test_null_is_no_mark_and_unknown_fields_of_a_mark_are_left_alone() -> None:
    seen = tally()
    seen.mark(None)
    assert seen.marks == 0
    seen.mark({"type": "ephemeral", "scope": "global"})
    assert seen.marks == 1


@pytest.mark.parametrize(
    ("mark", "path"),
    [
        (3, ""),
        ("ephemeral", ""),
        ({}, "type"),
        ({"type": "forever"}, "type"),
        ({"type": "ephemeral", "ttl": "2h"}, "ttl"),
        ({"type": "ephemeral", "ttl": None}, "ttl"),
        ({"type": "ephemeral", "ttl": []}, "ttl"),
    ],
)
def test_a_mark_that_is_not_understood_is_refused(mark: Any, path: str) -> None:
    with pytest.raises(Malformed) as refused:
        tally().mark(mark)
    assert refused.value.path == path


def test_the_fifth_mark_is_one_too_many() -> None:
    seen = tally()
    for _ in range(MARKS_MAX):
        seen.mark({"type": "ephemeral"})
    with pytest.raises(Malformed, match="A maximum of 4 blocks with cache_control may be provided"):
        seen.mark({"type": "ephemeral"})
