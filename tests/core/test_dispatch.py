"""Dispatch sends a call to who is up, rested and warm, in that order of weight, and nowhere when nobody is.

Method: a dispatch told what happened at each upstream, and asked whose turn it is.
"""

from collections import Counter

import pytest

from faregate.core.affinity import NO_TRAIL, Trail
from faregate.core.breaker import UNREACHABLE_MAX, State
from faregate.core.dispatch import REST_S_MAX, Dispatch, Turn
from faregate.core.routing import Route

AB = ("a", "b")
TALK = Trail((b"1",), ((b"1", "5m"),))


def end(dispatch: Dispatch, name: str, now_s: float, *, alive: bool, asked_ms: int | None = None) -> None:
    """One attempt in vain."""
    permit = dispatch.begin(name, "m", now_s)
    assert permit is not None
    dispatch.bad(name, permit, "m", now_s, alive=alive, unreachable=not alive, asked_ms=asked_ms)


def without(*down: str, now_s: float = 0.0) -> Dispatch:
    dispatch = Dispatch()
    for name in down:
        for _ in range(UNREACHABLE_MAX):
            end(dispatch, name, now_s, alive=False)
        assert dispatch.state(name, now_s) is State.OPEN and not dispatch.is_up(name, now_s)
    return dispatch


def turn(
    dispatch: Dispatch, number: int = 0, now_s: float = 0.0, *, names: tuple[str, ...] = AB, model: str = "m",
    last: str | None = None, patience_ms: int = 30_000,
) -> Turn:  # fmt: skip
    return dispatch.turn(names, number, model, now_s, last=last, patience_ms=patience_ms)


def first(dispatch: Dispatch, route: Route, trail: Trail = NO_TRAIL, chance: float = 0.0, now_s: float = 0.0) -> str:
    names = dispatch.order(route, trail, now_s, chance=lambda: chance)
    assert sorted(names) == sorted(route.upstreams)
    return names[0]


# Turns


def test_attempts_go_round() -> None:
    assert [turn(Dispatch(), number).upstream for number in range(4)] == ["a", "b", "a", "b"]


def test_who_is_down_is_passed_over() -> None:
    assert [turn(without("a"), number) for number in range(2)] == [Turn("b"), Turn("b")]


def test_when_nobody_is_up_the_one_that_is_soonest_due_is_asked_anyway_and_its_answer_counts() -> None:
    dispatch = without("a")
    for _ in range(UNREACHABLE_MAX):
        end(dispatch, "b", 2, alive=False)
    for number in range(2):
        assert turn(dispatch, number, now_s=2) == Turn("a", anyway=True)
    assert dispatch.begin("a", "m", 2) is None
    permit = dispatch.begin("a", "m", 2, anyway=True)
    assert permit is not None
    dispatch.good("a", permit, "m", NO_TRAIL, 2)

    assert dispatch.state("a", 2) is State.CLOSED and dispatch.state("b", 2) is State.OPEN


def test_when_nobody_is_up_a_retry_goes_to_another_than_who_has_just_failed() -> None:
    dispatch = without("a")
    for _ in range(UNREACHABLE_MAX):
        end(dispatch, "b", 2, alive=False)

    assert turn(dispatch, 1, now_s=2, last="a") == Turn("b", anyway=True)
    assert turn(dispatch, 1, now_s=2, last="b") == Turn("a", anyway=True)
    assert turn(dispatch, 1, now_s=2, last="a", names=("a",)) == Turn("a", anyway=True)


def test_a_failure_of_one_that_was_asked_anyway_makes_its_rest_no_longer() -> None:
    dispatch = without("a")
    permit = dispatch.begin("a", "m", 1, anyway=True)
    assert permit is not None
    dispatch.bad("a", permit, "m", 1, alive=False, unreachable=True, asked_ms=None)

    assert not dispatch.is_up("a", 4.9) and dispatch.is_up("a", 5)


def test_a_probe_is_one_calls_turn_and_no_others() -> None:
    dispatch = without("a")
    assert turn(dispatch, now_s=5, names=("a",)) == Turn("a")
    assert dispatch.begin("a", "m", 5) is not None

    assert turn(dispatch, now_s=5) == Turn("b")
    assert dispatch.begin("a", "m", 5) is None
    assert dispatch.is_up("a", 5), "it may be just that"


def test_who_asked_to_be_left_alone_is_passed_over_until_then_for_that_model() -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=2_000)

    assert turn(dispatch) == Turn("b")
    assert dispatch.begin("a", "m", 1.999) is None
    assert turn(dispatch, model="other") == Turn("a")
    assert turn(dispatch, now_s=2) == Turn("a", 0)
    assert dispatch.begin("a", "m", 2) is not None


def test_when_all_rest_it_is_the_turn_of_the_soonest_rested() -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=9_000)
    end(dispatch, "b", 0, alive=True, asked_ms=4_000)
    assert turn(dispatch, now_s=1) == Turn("b", 3_000)


@pytest.mark.parametrize(("patience_ms", "expected"), [(2_000, Turn("a", 2_000)), (1_999, Turn("b"))])
def test_who_has_just_failed_is_asked_again_only_where_nobody_else_can_be_in_time(
    patience_ms: int, expected: Turn
) -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=2_000)
    assert turn(dispatch, 1, last="b", patience_ms=patience_ms) == expected


@pytest.mark.parametrize(("own_ms", "expected"), [(1_999, Turn("b", 1_999)), (2_000, Turn("a", 2_000))])
def test_who_has_just_failed_is_asked_again_when_it_said_so_if_that_is_sooner_than_others(
    own_ms: int, expected: Turn
) -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=2_000)
    end(dispatch, "b", 0, alive=True, asked_ms=own_ms)
    assert turn(dispatch, 1, last="b", patience_ms=1_000) == expected


def test_an_earlier_end_of_a_rest_is_not_believed_and_a_later_one_is() -> None:
    dispatch = Dispatch()
    early, late = (dispatch.begin("a", "m", 0) for _ in range(2))
    assert early is not None and late is not None
    end(dispatch, "a", 0, alive=True, asked_ms=5_000)
    dispatch.bad("a", early, "m", 0, alive=True, unreachable=False, asked_ms=1_000)
    dispatch.good("a", late, "m", NO_TRAIL, 0)
    assert turn(dispatch, names=("a",)) == Turn("a", 5_000)


def test_a_rest_that_is_over_is_forgotten_with_the_next_answer() -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=1_000)
    permit = dispatch.begin("a", "m", 1)
    assert permit is not None
    dispatch.good("a", permit, "m", NO_TRAIL, 1)
    assert turn(dispatch, now_s=1) == Turn("a")


def test_no_rest_is_endless() -> None:
    dispatch = Dispatch()
    end(dispatch, "a", 0, alive=True, asked_ms=10**9)
    assert turn(dispatch, names=("a",)) == Turn("a", int(REST_S_MAX * 1_000))


def test_what_is_no_sign_of_an_outage_does_not_open_a_breaker_and_a_broken_stream_does() -> None:
    dispatch = Dispatch()
    for _ in range(100):
        end(dispatch, "a", 0, alive=True)
    assert dispatch.state("a", 0) is State.CLOSED
    for _ in range(100):
        permit = dispatch.begin("a", "m", 31)
        if permit is not None:
            dispatch.good("a", permit, "m", NO_TRAIL, 31)
            dispatch.broke("a", permit, 31)
    assert dispatch.state("a", 31) is State.OPEN


def test_a_probe_that_is_not_waited_for_is_the_next_calls() -> None:
    dispatch = without("a")
    permit = dispatch.begin("a", "m", 5)
    assert permit is not None
    dispatch.left("a", permit, 5)
    assert dispatch.begin("a", "m", 5) is not None


# Order


def test_without_weights_the_order_is_the_routes() -> None:
    assert Dispatch().order(Route(upstreams=AB), NO_TRAIL, 0, chance=lambda: 0.99) == AB


def test_the_first_is_drawn_by_weight_and_the_others_follow_in_order() -> None:
    route, dispatch = Route(upstreams=("a", "b", "c"), weights=(3, 1, 0)), Dispatch()
    drawn = Counter(first(dispatch, route, chance=number / 400) for number in range(400))

    assert drawn == {"a": 300, "b": 100}
    assert dispatch.order(route, NO_TRAIL, 0, chance=lambda: 0.8) == ("b", "a", "c")


def test_who_is_down_has_no_weight_and_the_last_resort_is_the_order() -> None:
    route = Route(upstreams=("a", "b", "c"), weights=(3, 1, 0))
    assert {first(without("a"), route, chance=number / 10) for number in range(10)} == {"b"}
    assert first(without("a", "b"), route) == "a", "its turn says that it is down"


def test_a_conversation_stays_where_it_is_warm_while_that_is_up() -> None:
    route, dispatch = Route(upstreams=AB, weights=(1, 0)), Dispatch()
    permit = dispatch.begin("b", "m", 0)
    assert permit is not None
    dispatch.good("b", permit, "m", TALK, 0)

    assert first(dispatch, route, TALK) == "b"
    assert first(dispatch, Route(upstreams=AB), TALK) == "b"
    assert first(dispatch, route) == "a"
    assert first(dispatch, Route(upstreams=("a", "c")), TALK) == "a", "another model's route has no b"
    for _ in range(UNREACHABLE_MAX):
        end(dispatch, "b", 0, alive=False)
    assert first(dispatch, route, TALK) == "a"
