"""The estimator learns: what a key's content comes to, its typical answer, the prompts it has sent and what is warm.

Method: a made-up tokenizer that the estimator does not know, and calls whose truth we can compute.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.estimate import KEYS_MAX, Estimator, Guess
from faregate.core.prompt import survey
from faregate.wire.usage import Usage

WARM_FOR_MS = 300_000
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


def asked(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def guess(estimator: Estimator, document: dict[str, Any], *, key: str = "k", **more: Any) -> Guess:
    prompt = survey(document, namespace="w/m", image_tokens_max=1_600)
    return estimator.guess(key, "m", prompt, **{"max_tokens": 1_000, "now_ms": 0, **more})


def settle(
    estimator: Estimator, document: dict[str, Any], usage: Usage, *, finished: bool = True, **more: Any
) -> Guess:
    """A call from its guess to what upstream said of it."""
    made = guess(estimator, document, **more)
    key, now_ms = more.get("key", "k"), more.get("now_ms", 0)
    estimator.learn(key, "m", made, usage=usage, finished=finished, now_ms=now_ms)
    return made


def prose(size: int, start: int = 0) -> str:
    return "".join("the gate opens when a fare is held "[(start + at) % 35] for at in range(size))


@given(st.integers(8, 60), st.integers(200, 3_000))
def test_after_a_few_calls_a_keys_own_scale_is_known(percent: int, size: int) -> None:
    estimator = Estimator()
    for at in range(4):
        settle(estimator, asked(user(prose(size, at))), Usage(input=10 + size * percent // 100, output=40))
    found = guess(estimator, asked(user(prose(size // 2, 9))))

    assert found.input_tokens == pytest.approx(10 + size * percent / 200, rel=0.15, abs=12)
    assert found.usage.output == 40
    assert not found.known


def test_one_keys_history_says_nothing_of_anothers() -> None:
    estimator, fresh = Estimator(), guess(Estimator(), asked(user(prose(1_000, 1)))).usage
    for at in range(5):
        settle(estimator, asked(user(prose(900)), system=f"{at}"), Usage(input=900, output=9))

    assert guess(estimator, asked(user(prose(1_000, 1))), key="other").usage == fresh


def test_a_growing_conversation_is_counted_from_the_prompt_it_grew_from() -> None:
    estimator, first = Estimator(), asked(user("a" * 4_000))
    settle(estimator, first, Usage(input=3_333))
    second = asked(*first["messages"], {"role": "assistant", "content": "b" * 10}, user("c" * 10))
    found = guess(estimator, second)

    assert found.known
    assert 3_333 <= found.input_tokens <= 3_333 + 60


def test_the_same_prompt_again_is_what_it_was() -> None:
    estimator, document = Estimator(), asked(user("a" * 4_000))
    for _ in range(3):
        settle(estimator, document, Usage(input=3_333))

    assert guess(estimator, document).input_tokens == 3_333


def test_tools_that_cost_more_than_they_weigh_are_learnt_for_the_head_alone() -> None:
    estimator = Estimator()
    tools = [{"name": "find", "description": prose(300), "input_schema": {"type": "object"}}]
    for at in range(12):
        settle(estimator, asked(user(prose(900, at)), tools=tools), Usage(input=1_500 + 225))
        settle(estimator, asked(user(prose(900, 20 + at))), Usage(input=10 + 225))

    assert guess(estimator, asked(user(prose(1_800)), tools=tools)).input_tokens == pytest.approx(1_950, rel=0.02)
    assert guess(estimator, asked(user(prose(1_800)))).input_tokens == pytest.approx(460, rel=0.05)


def test_a_marked_prefix_is_expected_to_be_written_then_read_then_cold() -> None:
    estimator, document = Estimator(), asked(user("a" * 4_000, cache_control=MARK))
    cold = settle(estimator, document, Usage(input=5, cache_write_5m=900)).usage
    assert cold.cache_read == 0
    assert cold.cache_write_5m > 0

    warm = guess(estimator, document, now_ms=WARM_FOR_MS - 1).usage
    assert (warm.input, warm.cache_read, warm.cache_write_5m) == (5, 900, 0)
    assert guess(estimator, document, now_ms=WARM_FOR_MS).usage.cache_read == 0


def test_a_mark_that_moves_on_reads_what_stood_before_the_last_one() -> None:
    estimator = Estimator()
    settle(estimator, asked(user("a" * 4_000, cache_control=MARK)), Usage(input=5, cache_write_5m=900))
    longer = asked(user("a" * 4_000), {"role": "assistant", "content": "b"}, user("c " * 400, cache_control=MARK))
    found = guess(estimator, longer, now_ms=1_000).usage

    assert found.cache_read == 900
    assert 100 < found.cache_write_5m < 500
    assert found.input < 50


def test_a_read_keeps_a_prefix_warm_and_a_miss_says_that_it_is_cold() -> None:
    estimator, document = Estimator(), asked(user("a" * 4_000, cache_control=MARK), user("b"))
    settle(estimator, document, Usage(input=5, cache_write_5m=900))
    settle(estimator, document, Usage(input=5, cache_read=900), now_ms=WARM_FOR_MS - 1)
    assert guess(estimator, document, now_ms=WARM_FOR_MS + 1).usage.cache_read == 900

    other = asked(user("a" * 4_000), user("c", cache_control=MARK))
    settle(estimator, other, Usage(input=0, cache_write_5m=910), now_ms=WARM_FOR_MS + 2)
    assert guess(estimator, document, now_ms=WARM_FOR_MS + 3).usage.cache_read in (0, 900)


def test_each_mark_is_written_for_as_long_as_it_asks() -> None:
    estimator = Estimator()
    head = [{"type": "text", "text": "a " * 3_000, "cache_control": HOUR}]
    document = asked(user("b " * 1_000, cache_control=MARK), system=head)
    usage = Usage(input=3, cache_write_1h=3_000, cache_write_5m=1_000)
    found = settle(estimator, document, usage).usage
    assert 2 < found.cache_write_1h / found.cache_write_5m < 4

    later = guess(estimator, asked(user("c " * 1_000, cache_control=MARK), system=head), now_ms=2 * WARM_FOR_MS)
    assert later.usage.cache_read == 3_000
    assert later.usage.cache_write_1h == 0


def test_marks_that_upstream_does_not_cache_are_not_expected_to_be_written() -> None:
    estimator = Estimator()
    for at in range(2):
        settle(estimator, asked(user(f"{at}" + "a" * 1_200, cache_control=MARK)), Usage(input=300))
    found = guess(estimator, asked(user("b" * 1_100, cache_control=MARK))).usage

    assert found.cache_write_5m == found.cache_read == 0


def test_an_upstream_that_caches_unasked_is_expected_to() -> None:
    estimator, messages = Estimator(), [user("a" * 4_000)]
    settle(estimator, asked(*messages), Usage(input=1_000))
    for at in range(2):
        messages = [*messages, user("b " * 50 + str(at))]
        settle(estimator, asked(*messages), Usage(input=50, cache_read=950 + 50 * at))
    found = guess(estimator, asked(*messages, user("c " * 50))).usage

    assert found.cache_read == 1_050
    assert found.cache_write_5m == 0


def test_marks_change_nothing_where_upstream_caches_unasked() -> None:
    estimator, messages = Estimator(), [user("a" * 4_000)]
    for at, usage in enumerate([Usage(input=1_000), *[Usage(input=60, cache_read=990 + 50 * at) for at in range(2)]]):
        messages = [*messages, user("b " * 50 + str(at))]
        marked = [*messages[:-1], user("b " * 50 + str(at), cache_control=MARK)]
        settle(estimator, asked(*marked), usage)
    found = guess(estimator, asked(*messages, user("c " * 50, cache_control=MARK))).usage

    assert (found.cache_read, found.cache_write_5m) == (1_090, 0)


def test_a_cut_answer_teaches_nothing_of_typical_output() -> None:
    estimator = Estimator()
    settle(estimator, asked(user("a")), Usage(input=30, output=1), finished=False)

    assert guess(estimator, asked(user("b"))).usage.output == 256


def test_a_task_has_answers_of_its_own() -> None:
    estimator = Estimator()
    for at in range(5):
        settle(estimator, asked(user(f"{at}"), system="Say yes or no."), Usage(input=30, output=2))
        settle(estimator, asked(user(f"{at}"), system="Write a page."), Usage(input=30, output=800))

    assert guess(estimator, asked(user("x"), system="Say yes or no.")).usage.output == 2
    assert guess(estimator, asked(user("x"), system="Write a page.")).usage.output == 800


@pytest.mark.parametrize("nonsense", [5_001, 150_000, 10**9])
def test_a_count_that_no_input_comes_to_teaches_nothing(nonsense: int) -> None:
    estimator = Estimator()
    settle(estimator, asked(user(prose(1_000))), Usage(input=300, output=1))
    before = guess(estimator, asked(user(prose(1_000, 1))))
    settle(estimator, asked(user(prose(1_000, 2))), Usage(input=nonsense, output=1), tokens_max=5_000)

    assert guess(estimator, asked(user(prose(1_000, 1)))).input_tokens == before.input_tokens


def test_no_guess_is_above_what_the_input_can_come_to() -> None:
    estimator, document = Estimator(), asked(user("a" * 4_000))
    settle(estimator, document, Usage(input=9_000))

    assert guess(estimator, document, tokens_max=4_200).input_tokens == 4_200


def test_a_guess_that_was_made_elsewhere_teaches_nothing() -> None:
    Estimator().learn("k", "m", Guess(usage=Usage()), usage=Usage(input=9), finished=True, now_ms=0)


def test_what_is_remembered_is_bounded() -> None:
    estimator = Estimator()
    for number in range(KEYS_MAX + 100):
        settle(estimator, asked(user("a")), Usage(input=9), key=str(number))

    assert len(estimator._keys) == KEYS_MAX
