"""The next answer is guessed from the last ones, and one that is out of the ordinary moves nothing.

Method: answers written down by hand.
"""

import random

from faregate.core.typical import OUTPUT_TOKENS, Typical


def after(*answers: tuple[int, int, int]) -> Typical:
    typical = Typical()
    for output, cap, asked in answers:
        typical.learn(output, cap, asked)
    return typical


def test_before_any_answer_there_is_a_common_one_within_the_cap() -> None:
    assert Typical().output(4_096, 100) == OUTPUT_TOKENS
    assert Typical().output(100, 100) == 100


def test_one_long_answer_moves_nothing() -> None:
    assert after(*[(40, 4_096, 100)] * 6, (4_000, 4_096, 100)).output(4_096, 100) == 40


def test_an_answer_that_its_cap_cut_counts_as_longer_for_a_larger_cap_within_reason() -> None:
    cut = after(*[(16, 16, 100)] * 5)

    assert cut.output(16, 100) == 16
    assert cut.output(32, 100) == 32
    assert cut.output(4_096, 100) == 64


def test_answers_that_grow_with_what_is_asked_are_guessed_by_their_share() -> None:
    rng = random.Random(1)
    asked = [rng.randint(100, 9_000) for _ in range(12)]

    assert after(*[(size // 2, 8_192, size) for size in asked]).output(8_192, 5_000) == 2_500


def test_a_cap_of_nothing_teaches_nothing() -> None:
    typical = after((0, 0, 100))

    assert typical.calls == 0
    assert typical.output(0, 100) == 0
