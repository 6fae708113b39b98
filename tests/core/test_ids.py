"""Ids sort by time and carry exactly the chance they were given."""

from hypothesis import given
from hypothesis import strategies as st

from faregate.core.ids import ALPHABET, ULID_CHARS, made_at_ms, ulid

TIMES = st.integers(0, (1 << 48) - 1)
CHANCES = st.integers(0, (1 << 80) - 1)


@given(TIMES, CHANCES)
def test_an_id_is_26_characters_that_hold_the_time_and_the_chance(now_ms: int, chance: int) -> None:
    text = ulid(now_ms, chance)
    number = 0
    for char in text:
        number = number * 32 + ALPHABET.index(char)

    assert len(text) == ULID_CHARS
    assert number == now_ms << 80 | chance


@given(TIMES, TIMES, CHANCES, CHANCES)
def test_a_later_id_sorts_after_an_earlier_one(a: int, b: int, x: int, y: int) -> None:
    if a < b:
        assert ulid(a, x) < ulid(b, y)


@given(TIMES, CHANCES)
def test_an_id_says_when_it_was_made(now_ms: int, chance: int) -> None:
    assert made_at_ms("msg_" + ulid(now_ms, chance)) == now_ms


@given(st.text(max_size=40))
def test_what_is_no_id_was_made_at_no_time_that_breaks_anything(written: str) -> None:
    assert 0 <= made_at_ms(written) < 1 << 50


def test_an_id_of_another_maker_says_nothing() -> None:
    assert made_at_ms("msg_short") == made_at_ms("") == made_at_ms("msg_uuuuuuuuuuuuuuuuuuuuuuuuuu") == 0
