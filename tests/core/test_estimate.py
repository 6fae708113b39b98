"""The estimator learns: a key's own ratio, its typical answer, and the prompts it has sent.

Method: a made-up tokenizer that the estimator does not know, and calls whose truth we can compute.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.estimate import BILLING_HEADER, KEYS_MAX, Estimator, prefixes
from faregate.wire.usage import Usage

WARM_FOR_MS = 300_000


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


def test_the_first_guess_is_the_common_ratio() -> None:
    guess = Estimator().guess("k", "m", text_bytes=1_000, media_tokens=50, max_tokens=100, prefixes=[], now_ms=0)

    assert guess.usage == Usage(input=330, output=100)


@given(st.integers(10, 90), st.integers(100, 3_000))
def test_after_a_few_calls_a_keys_own_ratio_is_known(percent: int, size: int) -> None:
    estimator = Estimator()
    truth = size * percent // 100
    for _ in range(3):
        estimator.learn("k", "m", text_bytes=size, media_tokens=0, prefixes=[],
                        usage=Usage(input=truth, output=40), finished=True, now_ms=0)  # fmt: skip
    guess = estimator.guess("k", "m", text_bytes=size, media_tokens=0, max_tokens=1_000, prefixes=[], now_ms=0)

    assert guess.input_tokens == pytest.approx(truth, abs=1)
    assert guess.usage.output == 40


def test_one_keys_history_says_nothing_of_anothers() -> None:
    estimator = Estimator()
    estimator.learn("k", "m", text_bytes=1_000, media_tokens=0, prefixes=[], usage=Usage(input=900, output=9),
                    finished=True, now_ms=0)  # fmt: skip
    guess = estimator.guess("other", "m", text_bytes=1_000, media_tokens=0, max_tokens=500, prefixes=[], now_ms=0)

    assert guess.usage == Usage(input=280, output=256)


def test_a_growing_conversation_is_counted_from_the_prompt_it_grew_from() -> None:
    estimator = Estimator()
    first = {"messages": [user("a" * 4_000)]}
    second = {"messages": [*first["messages"], {"role": "assistant", "content": "b" * 10}, user("c" * 10)]}
    known = prefixes(first, namespace="w/m")
    estimator.learn("k", "m", text_bytes=4_100, media_tokens=0, prefixes=known,
                    usage=Usage(input=3_333), finished=True, now_ms=0)  # fmt: skip
    guess = estimator.guess("k", "m", text_bytes=4_200, media_tokens=0, max_tokens=1,
                            prefixes=prefixes(second, namespace="w/m"), now_ms=0)  # fmt: skip

    assert 3_333 <= guess.input_tokens <= 3_333 + 200


def test_a_marked_prefix_is_expected_to_be_written_then_read_then_cold() -> None:
    estimator = Estimator()
    document = {"messages": [user("a" * 4_000, cache_control={"type": "ephemeral"})]}
    known = prefixes(document, namespace="w/m")
    ask: dict[str, Any] = {"text_bytes": 4_100, "media_tokens": 0, "max_tokens": 1, "prefixes": known}

    cold = estimator.guess("k", "m", **ask, now_ms=0).usage
    assert cold.cache_read == 0
    assert cold.cache_write_5m > 0

    estimator.learn("k", "m", text_bytes=4_100, media_tokens=0, prefixes=known,
                    usage=Usage(input=5, cache_write_5m=900), finished=True, now_ms=0)  # fmt: skip
    warm = estimator.guess("k", "m", **ask, now_ms=WARM_FOR_MS - 1).usage
    assert warm.cache_read == 900
    assert estimator.guess("k", "m", **ask, now_ms=WARM_FOR_MS).usage.cache_read == 0


def test_a_mark_wanders_and_its_prefix_is_still_known() -> None:
    marked = {"messages": [user("a" * 2_000, cache_control={"type": "ephemeral"})]}
    bare = {"messages": [user("a" * 2_000)]}
    string = {"messages": [{"role": "user", "content": "a" * 2_000}]}

    digests = {prefixes(document, namespace="w")[-1].digest for document in (marked, bare, string)}
    assert len(digests) == 1


def test_two_tenants_never_share_a_prefix() -> None:
    document = {"messages": [user("a" * 2_000)]}

    assert prefixes(document, namespace="w1/m")[-1].digest != prefixes(document, namespace="w2/m")[-1].digest


def test_a_billing_header_that_changes_with_each_call_is_not_part_of_a_prefix() -> None:
    def document(header: str) -> dict[str, Any]:
        system = [{"type": "text", "text": f"{BILLING_HEADER}: {header}"}, {"type": "text", "text": "You are."}]
        return {"system": system, "messages": [user("hello")]}

    assert prefixes(document("1"), namespace="w") == prefixes(document("2"), namespace="w")


@given(st.lists(st.text(max_size=9), min_size=1, max_size=4), st.lists(st.text(max_size=9), min_size=1, max_size=4))
def test_other_messages_are_another_prefix(a: list[str], b: list[str]) -> None:
    first = prefixes({"messages": [user(text) for text in a]}, namespace="w")[-1].digest
    second = prefixes({"messages": [user(text) for text in b]}, namespace="w")[-1].digest

    assert (first == second) is (a == b)


def test_a_cut_answer_teaches_nothing_of_typical_output() -> None:
    estimator = Estimator()
    estimator.learn("k", "m", text_bytes=100, media_tokens=0, prefixes=[], usage=Usage(input=30, output=1),
                    finished=False, now_ms=0)  # fmt: skip

    guess = estimator.guess("k", "m", text_bytes=100, media_tokens=0, max_tokens=999, prefixes=[], now_ms=0)
    assert guess.usage.output == 256


@pytest.mark.parametrize("nonsense", [1_001, 150_000, 10**9])
def test_a_count_that_no_text_comes_to_teaches_nothing(nonsense: int) -> None:
    estimator = Estimator()
    for usage in (Usage(input=300, output=1), Usage(input=nonsense, output=1)):
        estimator.learn("k", "m", text_bytes=1_000, media_tokens=0, prefixes=[], usage=usage, finished=True, now_ms=0)

    guess = estimator.guess("k", "m", text_bytes=1_000, media_tokens=0, max_tokens=1, prefixes=[], now_ms=0)
    assert guess.input_tokens == 300


def test_no_guess_is_above_what_the_input_can_come_to() -> None:
    estimator = Estimator()
    known = prefixes({"messages": [user("a" * 4_000)]}, namespace="w/m")
    estimator.learn("k", "m", text_bytes=4_100, media_tokens=0, prefixes=known,
                    usage=Usage(input=10**9), finished=True, now_ms=0)  # fmt: skip

    guess = estimator.guess("k", "m", text_bytes=4_100, media_tokens=0, max_tokens=1, prefixes=known, now_ms=0,
                            tokens_max=4_200)  # fmt: skip
    assert guess.input_tokens == 4_200


def test_short_prompts_that_are_dense_with_tools_say_little_of_a_long_one() -> None:
    estimator = Estimator()
    estimator.learn("k", "m", text_bytes=1_000, media_tokens=0, prefixes=[], usage=Usage(input=800), finished=True,
                    now_ms=0)  # fmt: skip

    guess = estimator.guess("k", "m", text_bytes=400_000, media_tokens=0, max_tokens=1, prefixes=[], now_ms=0)
    assert guess.input_tokens == 112_000


def test_what_is_remembered_is_bounded() -> None:
    estimator = Estimator()
    for number in range(KEYS_MAX + 100):
        estimator.learn(str(number), "m", text_bytes=10, media_tokens=0, prefixes=[], usage=Usage(input=9),
                        finished=True, now_ms=0)  # fmt: skip

    assert len(estimator._keys) == KEYS_MAX
