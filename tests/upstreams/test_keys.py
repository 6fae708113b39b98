"""Keys are used in turn; one that is refused rests, and none is ever shown.

Method: a clock by hand.
"""

import pytest

from faregate.upstreams.keys import REST_S, REST_S_MAX, Keys


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def order(keys: Keys, model: str = "m") -> list[str | None]:
    return [key.secret for key in keys.in_turn(model)]


def test_each_call_begins_with_the_next_key_and_knows_the_others() -> None:
    keys = Keys(["a", "b", "c"])
    assert [order(keys) for _ in range(4)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_key_that_is_refused_rests_and_comes_back(status: int) -> None:
    clock = Clock()
    keys = Keys(["a", "b"], clock=clock)
    assert keys.refused(keys.all[0], "m", status, {})
    assert [order(keys) for _ in range(3)] == [["b"]] * 3
    clock.now += REST_S[status]
    assert sorted(map(str, order(keys))) == ["a", "b"]


@pytest.mark.parametrize("status", [200, 400, 404, 500, 529])
def test_what_is_not_about_the_key_is_not_held_against_it(status: int) -> None:
    keys = Keys(["a", "b"])
    assert not keys.refused(keys.all[0], "m", status, {"retry-after": "9"})
    assert len(keys.in_turn("m")) == 2


def test_a_rate_rests_as_long_as_upstream_asks_within_reason() -> None:
    clock = Clock()
    keys = Keys(["a", "b"], clock=clock)
    keys.refused(keys.all[0], "m", 429, {"retry-after": "3"})
    clock.now += 3
    assert len(keys.in_turn("m")) == 2
    keys.refused(keys.all[0], "m", 429, {"retry-after": "86400"})
    clock.now += REST_S_MAX
    assert len(keys.in_turn("m")) == 2


@pytest.mark.parametrize(("status", "others"), [(401, ["b"]), (403, ["a", "b"]), (429, ["a", "b"])])
def test_a_rate_or_a_permission_is_of_one_model_and_a_key_that_is_none_of_all(status: int, others: list[str]) -> None:
    keys = Keys(["a", "b"], clock=Clock())
    keys.refused(keys.all[0], "m", status, {})
    assert order(keys) == ["b"]
    assert sorted(map(str, order(keys, "other"))) == others


def test_when_all_rest_the_one_that_rests_least_is_used() -> None:
    keys = Keys(["a", "b"], clock=Clock())
    keys.refused(keys.all[0], "m", 429, {})
    keys.refused(keys.all[1], "m", 401, {})
    assert [order(keys) for _ in range(3)] == [["a"]] * 3


def test_no_keys_at_all_are_one_that_is_not_sent() -> None:
    assert order(Keys([])) == [None]
    assert Keys([]).redact("text") == "text"


def test_an_empty_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="api_key: is empty"):
        Keys(["a", ""])


def test_no_key_is_in_a_repr_or_a_text_that_is_shown() -> None:
    keys = Keys(["hunter2", "hunter3"])
    assert "hunter" not in f"{keys!r} {keys.all!r} {keys.all[0]}"
    assert keys.redact("hunter2, hunter3") == "[redacted], [redacted]"
