"""The weights of a key are learnt from few calls, from mixtures, and in spite of an outlier.

Method: tokenizers that are known weights, traffic that is drawn from a seed.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.core.prompt import KINDS, TEXT_KINDS
from faregate.core.weights import DOUBT, PRIOR, Weights

TRUE = [0.2, 0.6, 0.9, 0.1, -0.1, 0.9, 1.5, 0.6, 5.0, 20.0, 0.0, 1.0, 0.0, 0.0, 5_000.0, 0.0]


def counts(rng: random.Random) -> list[float]:
    """A prompt of mixed content."""
    size = rng.lognormvariate(7, 1)
    shares = [rng.random() ** 3 for _ in range(TEXT_KINDS)]
    return [*(size * share for share in shares), 1, rng.randint(0, 4), 0, 0, 0, 0, 0, 0]


def comes_to(found: list[float]) -> float:
    return sum(n * weight for n, weight in zip(found, TRUE, strict=True))


def test_there_is_a_prior_for_each_kind() -> None:
    assert len(PRIOR) == len(DOUBT) == len(KINDS) == len(TRUE)
    assert Weights().expect([100.0, *[0] * 15]) == pytest.approx(100 * PRIOR[0])


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_mixture_is_sorted_out_in_twenty_calls(seed: int) -> None:
    rng, weights = random.Random(seed), Weights()
    for _ in range(20):
        found = counts(rng)
        weights.learn(found, comes_to(found))
    errors = sorted(abs(weights.expect(found) / comes_to(found) - 1) for found in (counts(rng) for _ in range(50)))

    assert errors[25] < 0.05


def test_one_call_of_one_kind_fixes_the_scale() -> None:
    weights = Weights()
    prose = [8_000.0, 200.0, 20.0, 2_000.0, 0.0, 300.0, *[0.0] * 10]
    weights.learn(prose, 1_500)

    assert weights.expect([n / 2 for n in prose]) == pytest.approx(750, rel=0.05)


def test_an_outlier_moves_little_and_a_change_that_stays_is_learnt() -> None:
    weights, prose = Weights(), [4_000.0, *[0.0] * 15]
    for _ in range(20):
        weights.learn(prose, 1_000)
    weights.learn(prose, 4_000)
    assert weights.expect(prose) == pytest.approx(1_000, rel=0.1)

    for _ in range(12):
        weights.learn(prose, 1_500)
    assert weights.expect(prose) == pytest.approx(1_500, rel=0.05)


def test_what_is_in_doubt_beside_them_takes_its_share_of_a_surprise() -> None:
    weights, prose = Weights(), [4_000.0, *[0.0] * 15]
    for _ in range(20):
        weights.learn(prose, 1_000)
    surprise, variance = weights.learn(prose, 1_100, doubt=1_000_000.0)

    assert 0.9 < surprise * 1_000_000 / variance / 100 < 1.1
    assert weights.expect(prose) == pytest.approx(1_000, rel=0.02)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=16, max_size=16))))
def test_nothing_that_is_counted_makes_it_fail(calls: list[tuple[int, list[int]]]) -> None:
    weights = Weights()
    for tokens, found in calls:
        _, variance = weights.learn(found, tokens)
        assert variance > 0
        assert weights.expect(found) >= 0
