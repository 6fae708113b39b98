"""The offline model is an upstream like any other: its answers are true to the Anthropic wire, and private by wallet.

Method: the real model in its own process, one for the whole file, asked over the real transport. It is small, so claims
are about form, counts and bounds, and about words only where it is held to them or cannot miss.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faregate.core.errors import InvalidRequest, Unsupported
from faregate.upstreams.local import Local
from faregate.upstreams.port import Ask
from tests.upstreams.asking import whole
from tests.upstreams.offline import STORY, asked, plain, running
from tests.upstreams.telling import TIME, WEATHER, check_legal, content

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local() -> AsyncIterator[Local]:
    async with running() as made:
        yield made


async def streamed(local: Local, call: Ask) -> list[dict[str, Any]]:
    answer = await local.send(call)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    return check_legal(await whole(answer))


def read_of(usage: dict[str, int]) -> int:
    return usage["cache_read_input_tokens"]


def input_of(usage: dict[str, int]) -> int:
    return usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]


async def test_it_answers_a_question(local: Local) -> None:
    message = await plain(local, asked())

    assert "Paris" in message["content"][0]["text"]
    assert (message["role"], message["model"], message["stop_reason"]) == ("assistant", "claude-haiku-4-5", "end_turn")


async def test_a_stream_says_what_a_plain_answer_says_and_counts_the_same(local: Local) -> None:
    message = await plain(local, asked("same"))
    found = await streamed(local, asked("same", stream=True))

    assert content(found) == message["content"][0]["text"]
    assert found[-2]["usage"]["output_tokens"] == message["usage"]["output_tokens"]
    assert input_of(found[-2]["usage"]) == input_of(message["usage"])
    assert found[0]["message"]["usage"] == {**found[-2]["usage"], "output_tokens": 1}
    assert read_of(found[0]["message"]["usage"]) > 0


async def test_message_start_has_the_real_input_and_it_is_what_count_tokens_counts(local: Local) -> None:
    call = asked(stream=True, system="Be kind.", say=STORY)
    found = await streamed(local, call)

    assert input_of(found[0]["message"]["usage"]) == await local.count_tokens(call)


async def test_a_count_is_of_the_callers_own_prompt_whoever_asks(local: Local) -> None:
    short = await local.count_tokens(asked(say="gate"))
    counts = {await local.count_tokens(asked(say="gate")) for _ in range(5)}
    longer = await local.count_tokens(asked(say="gate" + " gate" * 10))

    assert counts == {short}
    assert longer is not None and short is not None and longer == short + 10


async def test_a_wallet_reads_its_own_prefix_from_the_cache_and_never_anothers(local: Local) -> None:
    alice, bob = "alice", "bob"
    first = await plain(local, asked(alice, system=STORY, max_tokens=1))
    own = await plain(local, asked(alice, system=STORY, max_tokens=1))
    other = await plain(local, asked(bob, system=STORY, max_tokens=1))
    others_own = await plain(local, asked(bob, system=STORY, max_tokens=1))

    assert read_of(first["usage"]) == 0
    assert read_of(own["usage"]) > 200
    assert read_of(other["usage"]) == 0
    assert read_of(others_own["usage"]) == read_of(own["usage"])
    assert len({input_of(message["usage"]) for message in (first, own, other, others_own)}) == 1


async def test_a_stop_sequence_is_named_and_not_said(local: Local) -> None:
    call = asked(say="Count from 1 to 10", stop_sequences=["zebra", "3"])
    message = await plain(local, call)
    found = await streamed(local, msgspec.structs.replace(call, stream=True))

    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "3")
    assert "3" not in message["content"][0]["text"] and "2" in message["content"][0]["text"]
    assert found[-2]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "3"}


async def test_max_tokens_is_the_most_that_is_generated(local: Local) -> None:
    message = await plain(local, asked(say="Tell me a long story.", max_tokens=5))

    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)


async def test_max_tokens_of_zero_warms_the_cache_and_says_nothing(local: Local) -> None:
    warm = await plain(local, asked("warm", system=STORY, max_tokens=0))
    after = await plain(local, asked("warm", system=STORY, max_tokens=1))

    assert (warm["content"], warm["stop_reason"], warm["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert read_of(warm["usage"]) == 0 and read_of(after["usage"]) > 200


async def test_a_prefilled_turn_is_gone_on_from_and_not_repeated(local: Local) -> None:
    turns = [{"role": "user", "content": "Count to ten."}, {"role": "assistant", "content": "One, two,"}]
    message = await plain(local, asked(messages=turns, max_tokens=8))

    assert message["content"][0]["text"].lstrip().startswith("three")


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "get_weather"}, {"type": "any"}])
async def test_a_forced_tool_is_called_with_an_input_that_keeps_to_its_schema(local: Local, choice: Any) -> None:
    more = {"tools": [WEATHER, TIME], "tool_choice": choice, "max_tokens": 200, "say": "What is the weather in Paris?"}
    message = await plain(local, asked(**more))
    found = await streamed(local, asked(**more, stream=True))

    (block,) = message["content"]
    started = next(event["content_block"] for event in found if event["type"] == "content_block_start")
    assert message["stop_reason"] == found[-2]["delta"]["stop_reason"] == "tool_use"
    assert block["id"].startswith("toolu_") and started["id"].startswith("toolu_") and started["input"] == {}
    assert started["name"] == block["name"] in ("get_weather", "get_time")
    assert msgspec.json.decode(content(found)) == block["input"]
    assert set(block["input"]) == ({"city", "unit"} if block["name"] == "get_weather" else {"city"})
    assert sum(event["type"] == "content_block_delta" for event in found) > 3


async def test_an_output_format_is_kept_to_in_text(local: Local) -> None:
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}},
                                              "required": ["capital"]}}  # fmt: skip
    # Its grammar allows some white space between the parts, of which a hot model may make forty tokens, and no more.
    message = await plain(local, asked(output_config={"format": form}, temperature=1.0, max_tokens=300))

    assert set(msgspec.json.decode(message["content"][0]["text"])) == {"capital"}
    assert message["stop_reason"] == "end_turn"


async def test_a_tool_loop_in_the_history_is_answered(local: Local) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_time", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "It is noon."}]}
    turns = [
        {"role": "user", "content": "What time is it in Paris?"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, call]},
        {"role": "user", "content": [result]},
    ]
    message = await plain(local, asked(messages=turns, tools=[TIME], tool_choice={"type": "auto"}))

    assert [block["type"] for block in message["content"]] == ["text"]


async def test_a_prompt_over_the_slot_is_refused_in_the_standard_words(local: Local) -> None:
    call = asked(say="gate " * 9_000)
    tokens = await local.count_tokens(call)

    for stream in (False, True):
        with pytest.raises(InvalidRequest, match=rf"^prompt is too long: {tokens} tokens > 8174 maximum$") as refused:
            await local.send(msgspec.structs.replace(call, stream=stream))
        assert refused.value.code == "context_length_exceeded"


async def test_an_image_is_refused_for_a_call_and_for_a_count(local: Local) -> None:
    call = asked(messages=[{"role": "user", "content": [{"type": "image", "source": {}}]}])

    for attempt in (local.send, local.count_tokens):
        with pytest.raises(Unsupported, match="vision needs a real upstream"):
            await attempt(call)


async def test_a_schema_that_the_model_cannot_be_held_to_is_a_422(local: Local) -> None:
    never = {"name": "never", "input_schema": {"allOf": [{"type": "string"}, {"type": "integer"}]}}

    with pytest.raises(Unsupported, match="input_schema"):
        await local.send(asked(tools=[never], tool_choice={"type": "any"}))


async def test_the_widest_schema_that_is_let_through_is_compiled_and_held_to(local: Local) -> None:
    wide = {"type": "object", "properties": {f"p{index}": {"type": "integer"} for index in range(250)}}

    message = await plain(local, asked(output_config={"format": {"type": "json_schema", "schema": wide}}, max_tokens=9))

    assert message["content"][0]["text"].startswith("{")


async def test_five_at_once_all_get_an_answer_though_there_are_four_slots(local: Local) -> None:
    answers = await asyncio.gather(*(streamed(local, asked(stream=True, max_tokens=10)) for _ in range(5)))

    assert all(found[-1]["type"] == "message_stop" for found in answers)


async def test_it_says_that_it_is_the_offline_model_and_whether_it_is_up(local: Local) -> None:
    assert local.embedded and local.healthy() and local.name == "local"
