"""The breaker opens on trouble and on nothing else, lets one call at a time probe, and closes on an answer.

Method: each arrow of its diagram by example, and any order of events against a model that is written out in full.
"""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faregate.core.breaker import UNREACHABLE_MAX, Bounds, Breaker, State

BOUNDS = Bounds(failures_max=3, share_max=50, window_calls_min=8, window_s=10, rest_s=4, rest_s_max=10)


def asked(breaker: Breaker, now_s: float) -> int:
    permit = breaker.begin(now_s)
    assert permit is not None
    return permit


def opened(now_s: float = 0.0, bounds: Bounds = BOUNDS) -> Breaker:
    breaker = Breaker(bounds)
    for _ in range(bounds.failures_max):
        breaker.bad(asked(breaker, now_s), now_s)
    assert breaker.state(now_s) is State.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_one_answer_between_them_does_not() -> None:
    breaker = Breaker(BOUNDS)
    for failed in (True, True, False, True, True):
        (breaker.bad if failed else breaker.good)(asked(breaker, 0), 0)
        assert breaker.state(0) is State.CLOSED
    breaker.bad(asked(breaker, 0), 0)

    assert breaker.state(0) is State.OPEN
    assert breaker.begin(0) is None


def test_so_many_connections_that_could_not_be_made_open_it_earlier() -> None:
    breaker = Breaker(Bounds(failures_max=100))
    for failures in range(UNREACHABLE_MAX):
        assert breaker.state(0) is State.CLOSED, failures
        breaker.bad(asked(breaker, 0), 0, unreachable=True)
    assert breaker.state(0) is State.OPEN


def test_a_failure_of_another_kind_between_them_shows_that_somebody_is_there() -> None:
    breaker = Breaker(Bounds(failures_max=100))
    for number in range(UNREACHABLE_MAX * 3):
        breaker.bad(asked(breaker, 0), 0, unreachable=number % UNREACHABLE_MAX != 0)
    assert breaker.state(0) is State.CLOSED


def test_half_of_a_windows_attempts_open_it_once_there_are_enough() -> None:
    breaker = Breaker(BOUNDS)
    for number in range(BOUNDS.window_calls_min - 1):
        (breaker.good if number % 2 else breaker.bad)(asked(breaker, 0), 0)
    assert breaker.state(0) is State.CLOSED, "too few to say"
    breaker.bad(asked(breaker, 0), 0)
    assert breaker.state(0) is State.OPEN


def test_a_stream_that_broke_off_is_one_attempt_that_failed() -> None:
    breaker = Breaker(Bounds(failures_max=100, window_calls_min=20))
    streams = [asked(breaker, 0) for _ in range(20)]
    for permit in streams:
        breaker.good(permit, 0)
    for permit in streams[:9]:
        breaker.broke(permit, 1)
    assert breaker.state(1) is State.CLOSED, "nine of twenty"
    breaker.broke(streams[9], 1)
    assert breaker.state(1) is State.OPEN, "half of them"

    breaker.broke(streams[10], 4)
    assert breaker.due_s(4) == 2, "what broke off later prolongs nothing"


@pytest.mark.parametrize(("age_s", "state"), [(5, State.OPEN), (10, State.CLOSED), (1_000, State.CLOSED)])
def test_what_is_older_than_a_window_is_forgotten(age_s: float, state: State) -> None:
    breaker = Breaker(BOUNDS)
    for number in range(6):
        (breaker.good if number % 2 else breaker.bad)(asked(breaker, 0), 0)
    for _ in range(2):
        breaker.bad(asked(breaker, age_s), age_s)
    assert breaker.state(age_s) is state


def test_when_it_is_due_one_call_probes_it_and_the_others_wait() -> None:
    breaker = opened()
    assert breaker.due_s(1) == BOUNDS.rest_s - 1
    assert breaker.begin(BOUNDS.rest_s - 0.1) is None
    assert breaker.state(BOUNDS.rest_s) is State.HALF_OPEN

    assert breaker.begin(BOUNDS.rest_s) is not None
    assert breaker.begin(BOUNDS.rest_s) is None
    assert breaker.due_s(BOUNDS.rest_s) == BOUNDS.rest_s


def test_a_probe_that_is_answered_closes_it_and_forgets_what_was() -> None:
    breaker = opened()
    breaker.good(asked(breaker, 4), 5)

    assert breaker.state(5) is State.CLOSED and breaker.due_s(5) == 0
    for _ in range(BOUNDS.failures_max - 1):
        breaker.bad(asked(breaker, 5), 5)
    assert breaker.state(5) is State.CLOSED


def test_each_probe_that_fails_doubles_the_rest_up_to_the_longest() -> None:
    breaker, now_s = opened(), 0.0
    for rest_s in (4, 8, 10, 10):
        assert breaker.due_s(now_s) == rest_s
        now_s += rest_s
        breaker.bad(asked(breaker, now_s), now_s)
    breaker.good(asked(breaker, now_s + 10), now_s + 10)
    for _ in range(BOUNDS.failures_max):
        breaker.bad(asked(breaker, now_s + 10), now_s + 10)
    assert breaker.due_s(now_s + 10) == 4, "closed, it begins anew"


def test_a_probe_whose_caller_leaves_makes_room_for_the_next_at_once() -> None:
    breaker = opened()
    breaker.left(asked(breaker, 4), 4.5)
    assert breaker.begin(4.5) is not None


def test_a_probe_that_takes_longer_than_a_rest_makes_room_too_and_its_answer_counts() -> None:
    breaker = opened()
    slow = asked(breaker, 4)
    assert asked(breaker, 8) == slow
    breaker.good(slow, 9)
    assert breaker.state(9) is State.CLOSED


def test_what_began_before_it_opened_says_nothing_any_more() -> None:
    breaker = Breaker(BOUNDS)
    early = [asked(breaker, 0) for _ in range(9)]
    for permit in early[:3]:
        breaker.bad(permit, 0)
    for permit in early[3:6]:
        breaker.bad(permit, 3)
    assert breaker.due_s(3) == BOUNDS.rest_s - 3, "late failures prolong nothing"
    breaker.good(early[6], 3)
    assert breaker.state(3) is State.OPEN
    probe = asked(breaker, 4)
    breaker.good(early[7], 4)
    breaker.left(early[8], 4)
    assert breaker.state(4) is State.HALF_OPEN and breaker.begin(4) is None
    breaker.good(probe, 4)
    assert breaker.state(4) is State.CLOSED


class Machine(RuleBasedStateMachine):
    """Any order of calls and answers, against what its docstring says."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BOUNDS)
        self.now_s = 0.0
        self.state = State.CLOSED
        self.due_s = 0.0
        self.rest_s = BOUNDS.rest_s
        self.run = self.life = 0
        self.under_way: list[tuple[int, int]] = []
        """Permits, each with the life in which it was given: a life is the time between two changes."""

    def change(self, state: State) -> None:
        self.state, self.run, self.life = state, 0, self.life + 1

    @rule(wait_s=st.sampled_from((0.0, 0.5, 3.0, 4.0, 20.0)))
    def time_passes(self, wait_s: float) -> None:
        self.now_s += wait_s

    @rule()
    def a_call_asks(self) -> None:
        permit = self.breaker.begin(self.now_s)
        may = self.state is State.CLOSED or self.now_s >= self.due_s
        assert (permit is not None) is may
        if permit is None:
            return
        if self.state is State.OPEN:
            self.change(State.HALF_OPEN)
        if self.state is State.HALF_OPEN:
            self.due_s = self.now_s + BOUNDS.rest_s
        self.under_way.append((permit, self.life))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), answer=st.sampled_from(("good", "bad", "left")))
    def an_attempt_ends(self, data: st.DataObject, answer: str) -> None:
        permit, life = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        before = self.breaker.state(self.now_s)
        if answer == "left":
            self.breaker.left(permit, self.now_s)
            if life == self.life and self.state is State.HALF_OPEN:
                self.due_s = self.now_s
            return
        (self.breaker.good if answer == "good" else self.breaker.bad)(permit, self.now_s)
        if life != self.life:
            assert self.breaker.state(self.now_s) is before
        elif answer == "good":
            if self.state is State.HALF_OPEN:
                self.change(State.CLOSED)
                self.rest_s = BOUNDS.rest_s
            self.run = 0
        else:
            self.run += 1
            by_share = self.breaker.state(self.now_s) is State.OPEN  # The window is the examples' to judge.
            if self.state is State.HALF_OPEN or self.run >= BOUNDS.failures_max or by_share:
                self.change(State.OPEN)
                self.due_s = self.now_s + self.rest_s
                self.rest_s = min(2 * self.rest_s, BOUNDS.rest_s_max)

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        due = self.state is State.OPEN and self.now_s >= self.due_s
        assert self.breaker.state(self.now_s) is (State.HALF_OPEN if due else self.state)
        left_s = 0.0 if self.state is State.CLOSED else max(0.0, self.due_s - self.now_s)
        assert self.breaker.due_s(self.now_s) == left_s


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
