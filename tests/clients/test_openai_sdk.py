"""OpenAI's own Python SDK rides through its own door, and pays from the same wallet.

Method: `openai` as a user would write it, against a running gateway; the bill read back from the receipts.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import pytest_asyncio
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

from faregate.upstreams.script import error_frame, failure, frames_of, plain
from faregate.upstreams.script import stream as streamed
from tests.contract.handmade import by_hand
from tests.contract.riders import message
from tests.gateway import MODEL, Gate, running

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello there"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
CALLING = {
    **message(input_tokens=20, output_tokens=30),
    "content": [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Zürich"}},
        {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Bern"}},
    ],
    "stop_reason": "tool_use",
}


def client_of(gate: Gate, key: str, **more: Any) -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(trust_env=False)
    return openai.AsyncOpenAI(
        api_key=key, base_url=f"{gate.base_url}/v1", http_client=http, _strict_response_validation=True, **more
    )


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with running(tmp_path) as gate:
        yield gate


def shown(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens


def billed(receipt: dict[str, Any]) -> tuple[int, int, int]:
    usage = receipt["usage"]
    read = usage["cache_read_input_tokens"]
    return usage["input_tokens"] + usage["cache_creation_input_tokens"] + read, usage["output_tokens"], read


async def test_a_completion_is_answered_and_its_receipt_is_found_by_its_id(gate: Gate) -> None:
    key = await gate.key()
    async with client_of(gate, key) as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=100)
        answer = raw.parse()

        assert isinstance(answer, ChatCompletion) and answer.choices[0].finish_reason == "stop"
        assert (answer.choices[0].message.content or "").startswith("the gate opens")
        receipt = await gate.receipt(key, answer.id)
        assert receipt["charged"] == raw.headers["x-credits-charged"]
        assert shown(answer.usage) == billed(receipt)
        assert raw.request_id == receipt["request_id"]


async def test_a_stream_is_gathered_by_the_helper_and_its_usage_is_the_receipts(gate: Gate) -> None:
    key = await gate.key()
    long = {"type": "text", "text": "Long. " * 2_000, "cache_control": {"type": "ephemeral"}}
    messages: Any = [{"role": "system", "content": [long]}, *HELLO]
    async with client_of(gate, key) as client:
        for _ in range(2):
            ask = client.chat.completions.stream(model=MODEL, messages=messages, stream_options={"include_usage": True})
            async with ask as stream:
                text = "".join([event.delta async for event in stream if event.type == "content.delta"])
                final = await stream.get_final_completion()
            assert final.choices[0].message.content == text and text.startswith("the gate opens")
            assert shown(final.usage) == billed(await gate.receipt(key, final.id))
    assert final.usage is not None and final.usage.prompt_tokens_details is not None
    assert (final.usage.prompt_tokens_details.cached_tokens or 0) > 1_000, "the mark went upstream, and was read back"


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_tools_are_called_in_parallel_and_their_answers_go_back(tmp_path: Path, *, is_stream: bool) -> None:
    script = [streamed(CALLING) if is_stream else plain(CALLING), plain(message(input_tokens=1, output_tokens=1))]
    async with running(tmp_path, script=script) as gate:
        key = await gate.key()
        async with client_of(gate, key) as client:
            asking: Any = {"model": MODEL, "messages": HELLO, "tools": [WEATHER], "tool_choice": "required"}
            if is_stream:
                async with client.chat.completions.stream(**asking) as stream:
                    first: ChatCompletion = await stream.get_final_completion()
            else:
                first = await client.chat.completions.create(**asking)
            (choice,) = first.choices
            calls: Any = choice.message.tool_calls
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me look.")
            assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Zürich"}, {"city": "Bern"}]

            results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls]
            spoken: Any = choice.message.to_dict()
            await client.chat.completions.create(model=MODEL, messages=[*HELLO, spoken, *results], tools=[WEATHER])

        sent = gate.upstream.log[-1].document
        assert sent["messages"][1]["content"] == CALLING["content"]
        assert sent["messages"][2]["content"] == [
            {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "sun"} for number in (1, 2)
        ]
        assert gate.upstream.log[0].document["tool_choice"] == {"type": "any"}
        assert gate.upstream.log[0].document["tools"][0]["strict"] is True


async def test_images_go_in_and_a_schema_comes_out(tmp_path: Path) -> None:
    said = message('{"colour": "red"}', input_tokens=1, output_tokens=1)
    async with running(tmp_path, script=[plain(said)]) as gate:
        key = await gate.key()
        async with client_of(gate, key) as client:
            parts: Any = [
                {"type": "text", "text": "Which colour?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ]
            schema = {"type": "object", "properties": {"colour": {"type": "string"}}, "additionalProperties": False}
            form: Any = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}}
            await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": parts}], response_format=form
            )
        sent = gate.upstream.log[-1].document
        assert sent["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
        assert sent["messages"][0]["content"][1]["source"] == {
            "type": "base64", "media_type": "image/png", "data": PIXEL,
        }  # fmt: skip


async def test_an_error_is_the_sdks_own_and_is_asked_once_where_asking_again_is_in_vain(gate: Gate) -> None:
    poor, rich = await gate.key(wallet="poor", credits="1"), await gate.key()
    async with client_of(gate, poor) as client:
        with pytest.raises(openai.APIStatusError) as empty:
            await client.chat.completions.create(model=MODEL, messages=HELLO)
    error = empty.value
    assert (error.status_code, error.code, error.type) == (402, "insufficient_credits", "billing_error")
    assert error.request_id and error.request_id.startswith("req_")

    async with client_of(gate, rich) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=MODEL, messages=HELLO, n=2)
        assert (refused.value.param, refused.value.code) == ("n", "invalid_param")
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    async with client_of(gate, "sk-fare-no") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    assert len(gate.upstream.log) == 0


async def test_an_error_in_a_stream_is_raised_and_costs_nothing(tmp_path: Path) -> None:
    frames = frames_of(message("Hello", input_tokens=5, output_tokens=3))[:5]
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        async with client_of(gate, key) as client:
            asked = asyncio.create_task(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
            turn = await upstream.turn()
            turn.begin(*frames)
            stream = await asked
            assert isinstance(await anext(stream), ChatCompletionChunk)
            turn.finish(error_frame())
            with pytest.raises(openai.APIError) as failed:
                assert [chunk async for chunk in stream] == []
        assert (failed.value.type, failed.value.code) == ("overloaded_error", "upstream_overloaded")
        assert (await gate.settled(key))[0]["charged"] == "0"


async def test_a_failure_that_may_pass_is_asked_again_and_billed_once(tmp_path: Path) -> None:
    good = plain(message(input_tokens=5, output_tokens=3))
    script = [failure(500, "api_error", "oops"), good]
    async with running(tmp_path, script=script, toml="[retry]\nattempts_max = 1\n") as gate:
        key = await gate.key()
        async with client_of(gate, key, max_retries=1) as client:
            await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=10)
        charged = [receipt["charged"] for receipt in await gate.settled(key, 2)]
        assert sorted(charged) == ["0", "20"]


async def test_models_are_listed_and_found(gate: Gate) -> None:
    key = await gate.key()
    async with client_of(gate, key) as client:
        models = [model async for model in client.models.list()]
        found = await client.models.retrieve(MODEL)

    assert MODEL in [model.id for model in models] and all(isinstance(model, Model) for model in models)
    assert (found.object, found.owned_by, found.created) == ("model", "faregate", 1_760_486_400)
