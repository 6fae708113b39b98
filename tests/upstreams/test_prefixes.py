"""The pretended prompt cache is cold the first time, warm the second, and its classes always add up."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from faregate.upstreams.prefixes import PREFIXES_MAX, Prefixes, tokens_in

LONG = "A tariff table that every call repeats. " * 20


def request(*, system_ttl: str | None = "5m", turns: int = 1, **more: Any) -> dict[str, Any]:
    mark = {"cache_control": {"type": "ephemeral", "ttl": system_ttl}} if system_ttl else {}
    messages = [{"role": "user", "content": f"turn {number} " * 10} for number in range(turns)]
    return {"model": "m", "system": [{"type": "text", "text": LONG, **mark}], "messages": messages, **more}


def total(usage: dict[str, Any]) -> int:
    split = usage["cache_creation"]
    written = split["ephemeral_5m_input_tokens"] + split["ephemeral_1h_input_tokens"]
    assert usage["cache_creation_input_tokens"] == written
    return int(usage["input_tokens"] + written + usage["cache_read_input_tokens"])


def test_a_marked_prefix_is_written_the_first_time_and_read_the_second() -> None:
    prefixes = Prefixes()
    cold, warm = prefixes.usage(request(), 0.0), prefixes.usage(request(), 1.0)
    assert cold["cache_creation"]["ephemeral_5m_input_tokens"] > 100
    assert cold["cache_read_input_tokens"] == 0
    assert warm["cache_creation_input_tokens"] == 0
    assert warm["cache_read_input_tokens"] == cold["cache_creation_input_tokens"]
    assert warm["input_tokens"] == cold["input_tokens"] > 0


def test_a_mark_of_an_hour_is_written_in_its_own_class() -> None:
    split = Prefixes().usage(request(system_ttl="1h"), 0.0)["cache_creation"]
    assert split["ephemeral_1h_input_tokens"] > 100
    assert split["ephemeral_5m_input_tokens"] == 0


def test_without_marks_nothing_is_cached() -> None:
    prefixes = Prefixes()
    for _ in range(2):
        usage = prefixes.usage(request(system_ttl=None), 0.0)
        assert (usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (0, 0)


def test_a_prefix_lives_as_long_as_its_ttl_since_it_was_last_used() -> None:
    prefixes = Prefixes()
    prefixes.usage(request(), 0.0)
    assert prefixes.usage(request(), 299.0)["cache_read_input_tokens"] > 0
    assert prefixes.usage(request(), 598.0)["cache_read_input_tokens"] > 0
    assert prefixes.usage(request(), 899.0)["cache_read_input_tokens"] == 0


def test_a_growing_conversation_reads_what_it_wrote_and_writes_only_what_is_new() -> None:
    prefixes = Prefixes()
    moving = {"cache_control": {"type": "ephemeral"}}
    first = prefixes.usage(request(system_ttl=None, turns=2, **moving), 0.0)
    second = prefixes.usage(request(system_ttl=None, turns=3, **moving), 1.0)
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert 0 < second["cache_creation_input_tokens"] < first["cache_creation_input_tokens"]
    assert second["input_tokens"] == 0


def test_a_prefix_that_is_read_lives_on_though_the_mark_has_moved_past_it() -> None:
    prefixes = Prefixes()
    moving = {"cache_control": {"type": "ephemeral"}}
    prefixes.usage(request(system_ttl=None, turns=2, **moving), 0.0)
    prefixes.usage(request(system_ttl=None, turns=3, **moving), 200.0)
    again = prefixes.usage(request(system_ttl=None, turns=2, **moving), 400.0)
    assert again["cache_creation_input_tokens"] == 0
    assert again["cache_read_input_tokens"] > 0


def test_a_mark_that_moves_from_one_block_to_the_next_does_not_change_the_prefix() -> None:
    prefixes = Prefixes()
    mark = {"cache_control": {"type": "ephemeral"}}
    first, second = {"type": "text", "text": LONG}, {"type": "text", "text": "more " * 20}

    def usage(*blocks: dict[str, Any]) -> dict[str, Any]:
        return prefixes.usage({"model": "m", "messages": [{"role": "user", "content": list(blocks)}]}, 0.0)

    written = usage(first | mark)["cache_creation_input_tokens"]
    assert usage(first, second | mark)["cache_read_input_tokens"] == written > 0


def test_another_model_tool_or_system_prompt_reads_nothing() -> None:
    prefixes = Prefixes()
    prefixes.usage(request(), 0.0)
    for other in (request(model="other"), request(tools=[{"name": "t"}]), request(system=LONG)):
        assert prefixes.usage(other, 1.0)["cache_read_input_tokens"] == 0


@given(
    marks=st.lists(st.sampled_from([None, "5m", "1h"]), min_size=1, max_size=6),
    calls=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_the_classes_add_up_to_the_same_input_warm_or_cold(marks: list[str | None], calls: list[int]) -> None:
    prefixes = Prefixes()
    for now, length in enumerate(calls):
        blocks = [
            {"type": "text", "text": f"block {number} " * 9}
            | ({"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {})
            for number, ttl in enumerate(marks[:length])
        ]
        document = {"model": "m", "messages": [{"role": "user", "content": blocks}]}
        usage = prefixes.usage(document, float(now))
        assert total(usage) == tokens_in(document)
        assert min(usage["input_tokens"], usage["cache_read_input_tokens"]) >= 0


def test_what_is_remembered_is_bounded() -> None:
    prefixes = Prefixes()
    for number in range(PREFIXES_MAX + 50):
        prefixes.usage(request(model=f"m{number}"), 0.0)
    assert len(prefixes._expiry) == PREFIXES_MAX
    assert prefixes.usage(request(model="m0"), 1.0)["cache_read_input_tokens"] == 0
