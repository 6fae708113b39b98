"""The retry budget lets failures now and then be mended, and an outage not be multiplied.

Method: calls that fail by a plan, counted against the bucket's own arithmetic.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.budget import FULL_MIN, FULL_S, Allowance, Budget

NONE = Allowance(share=0, floor_per_s=0)


def test_it_begins_full_and_then_gives_nothing_without_calls_or_time() -> None:
    budget = Budget(NONE)

    assert [budget.take(0.0) for _ in range(FULL_MIN + 2)] == [True] * FULL_MIN + [False] * 2
    assert (budget.made, budget.refused) == (FULL_MIN, 2)
    assert not budget.take(1e9), "no floor, no drops"


def test_an_outage_is_not_multiplied() -> None:
    budget = Budget(Allowance(share=20, floor_per_s=0))
    made = 0
    for _ in range(10_000):
        budget.called()
        made += sum(budget.take(0.0) for _ in range(2))
    assert made == FULL_MIN + 2_000 - 1  # What the first call gave ran over.


def test_failures_of_one_call_in_ten_are_all_tried_again() -> None:
    budget = Budget(Allowance(share=20, floor_per_s=0))
    for number in range(10_000):
        budget.called()
        if number % 10 == 0:
            assert budget.take(0.0)


@pytest.mark.parametrize("step_s", [0.0001, 0.03, 1.0])
def test_the_floor_is_so_many_a_second_however_often_it_is_asked(step_s: float) -> None:
    budget = Budget(Allowance(share=0, floor_per_s=10))
    while budget.take(0.0):
        pass
    steps = round(8 / step_s)
    made = sum(budget.take(step * step_s) for step in range(1, steps + 1))
    assert made == min(steps, 80) or made == 79  # The last one may be a drop short.


@given(st.lists(st.sampled_from(("call", "retry", "second")), max_size=300), st.integers(0, 100), st.integers(0, 20))
def test_there_are_never_more_retries_than_what_has_flowed_in(events: list[str], share: int, floor: int) -> None:
    budget = Budget(Allowance(share=share, floor_per_s=floor))
    now_s, calls = 0.0, 0
    for event in events:
        if event == "call":
            budget.called()
            calls += 1
        elif event == "second":
            now_s += 1.0
        else:
            budget.take(now_s)
    assert budget.made * 100 <= 100 * max(FULL_MIN, FULL_S * floor) + calls * share + now_s * floor * 100
