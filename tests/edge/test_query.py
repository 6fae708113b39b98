"""Any text of a query is read, or refused by a sentence that names it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest
from faregate.edge.query import NUL, PAGE, PAGE_MAX, limit_of, position_of, text_of, time_of


@given(st.text() | st.text("0123456789", max_size=8))
@example("0" * 5_000)
def test_any_text_is_a_limit_or_a_sentence(text: str) -> None:
    try:
        limit = limit_of(text)
    except InvalidRequest as error:
        assert error.message == f"limit: Input should be a whole number from 1 to {PAGE_MAX}"
    else:
        assert 1 <= limit <= PAGE_MAX and int(text) == limit


@given(st.text())
def test_any_text_is_a_time_or_a_sentence(text: str) -> None:
    try:
        time_of("since", text)
    except InvalidRequest as error:
        assert error.message.startswith("since: Input should be an RFC 3339 time with its zone")


@pytest.mark.parametrize(
    "text", ["2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", "2026-11-01T01:00:00 01:00", "2026-11-01T00:00Z"]
)
def test_a_time_means_the_same_in_each_zone_and_with_an_unescaped_plus(text: str) -> None:
    assert time_of("since", text) == 1_793_491_200_000


def test_what_is_left_out_has_its_default() -> None:
    assert limit_of(None) == PAGE
    assert time_of("since", None) is None
    assert text_of("model", None) is None


def test_a_nul_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(InvalidRequest, match=r"^model: "):
        text_of("model", f"a{NUL}b")
    assert text_of("model", "ab") == "ab"


def test_a_cursor_is_a_place_in_the_list_or_beyond_its_ends() -> None:
    assert position_of(["a", "b"], "b", otherwise=2) == 1
    assert position_of(["a", "b"], "c", otherwise=2) == 2
