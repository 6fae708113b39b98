"""The `openai` kind against a real llama.cpp: its own Chat Completions, billed by its own counts.

Method: the embedded model's server, one for the whole file, asked as an operator's own would be.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from faregate.upstreams.openai import OpenAI
from faregate.upstreams.port import Ask
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import whole
from tests.upstreams.chat_rules import gathered
from tests.upstreams.offline import asked, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llama() -> AsyncIterator[OpenAI]:
    transport = Transport()
    async with running() as local:
        server = local.process.running
        assert server is not None
        yield OpenAI(
            name="llama", base_url=f"http://{server.origin.authority}", api_keys=[server.key], transport=transport
        )
    await transport.aclose()


async def plain(llama: OpenAI, call: Ask) -> dict[str, Any]:
    answer = await llama.send(call)
    told: dict[str, Any] = msgspec.json.decode(await whole(answer))
    assert answer.status == 200, told
    return told


async def test_a_stream_says_and_counts_what_a_plain_answer_does(llama: OpenAI) -> None:
    message = await plain(llama, asked())
    streamed = gathered(await whole(await llama.send(asked(stream=True))))

    assert streamed["content"] == message["content"] and message["content"][0]["text"]
    assert streamed["stop_reason"] == message["stop_reason"]
    for usage in (message["usage"], streamed["usage"]):
        assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 37
        assert usage["output_tokens"] == message["usage"]["output_tokens"] > 0
    assert streamed["usage"]["cache_read_input_tokens"] > 30


async def test_a_limit_and_a_prefill_are_kept(llama: OpenAI) -> None:
    begun = [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "The capital"},
    ]
    for stream in (False, True):
        call = asked(stream=stream, messages=begun, max_tokens=5)
        told = gathered(await whole(await llama.send(call))) if stream else await plain(llama, call)
        assert told["content"][0]["text"].startswith(" of France")
        assert (told["stop_reason"], told["usage"]["output_tokens"]) == ("max_tokens", 5)


async def test_a_schema_is_kept_to(llama: OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    told = await plain(llama, asked(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert list(msgspec.json.decode(told["content"][0]["text"])) == ["n"]


async def test_a_prompt_that_is_too_long_is_told_in_anthropics_words(llama: OpenAI) -> None:
    answer = await llama.send(asked(say="word " * 9_000))
    error = msgspec.json.decode(await whole(answer))["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith("prompt is too long: 90") and error["message"].endswith("> 8192 maximum")


async def test_tools_and_their_results_are_taken(llama: OpenAI) -> None:
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "25 C and sunny"}
    turns = [
        {"role": "user", "content": "The weather?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    told = await plain(llama, asked(messages=turns, tools=[tool]))
    assert told["type"] == "message" and told["usage"]["output_tokens"] > 0
