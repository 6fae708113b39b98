"""A fault names its place, in the words of the Messages API."""

from collections.abc import Callable
from typing import Any

import pytest

from faregate.wire.shape import Malformed, at, boolean, integer, mapping, number, one_of, sequence, string, table, text


def test_a_path_grows_outwards_as_the_fault_passes() -> None:
    error = Malformed("Field required", "media_type")
    for part in ("source", 0, "content", 3, "messages"):
        error.under(part)

    assert str(error) == "messages.3.content.0.source.media_type: Field required"


def test_a_fault_of_the_body_itself_has_no_path() -> None:
    assert str(Malformed("not an object")) == "not an object"


def test_at_prefixes_faults_and_leaves_other_exceptions_alone() -> None:
    with pytest.raises(Malformed, match=r"^source: bad$"), at("source"):
        raise Malformed("bad")
    with pytest.raises(KeyError), at("source"):
        raise KeyError("source")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (string, ["", "x"], [None, 1, [], {}, True]),
        (boolean, [True, False], [0, 1, "true", None]),
        (integer, [0, -1, 2**70], [True, 1.0, "1", None]),
        (number, [0, 0.5, -1], [True, "1", None, []]),
        (mapping, [{}, {"a": 1}], [None, [], "{}"]),
        (sequence, [[], [1]], [None, {}, "[]"]),
    ],
)
def test_each_kind_takes_its_own_and_nothing_else(
    check: Callable[[object], None], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        check(value)
    for value in bad:
        with pytest.raises(Malformed, match=r"^Input should be"):
            check(value)


def test_what_is_missing_is_told_from_what_is_wrong() -> None:
    for read in (text, table):
        with pytest.raises(Malformed, match=r"^name: Field required$"):
            read({}, "name")
        with pytest.raises(Malformed, match=r"^name: Input should be"):
            read({"name": 7}, "name")


def test_a_choice_lists_what_there_is() -> None:
    one_of("a", ("a", "b"))
    with pytest.raises(Malformed, match=r"^ttl: Input should be '5m' or '1h'$"):
        one_of("2h", ("5m", "1h"), "ttl")
    with pytest.raises(Malformed, match=r"^type: Input should be 'ephemeral'$"):
        one_of([], ("ephemeral",), "type")
