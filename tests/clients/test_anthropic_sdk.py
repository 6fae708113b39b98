"""The official Python SDK rides through the gateway and notices nothing but the price.

Method: `anthropic` as a user would write it, against a running gateway; the bill read back from the receipts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolUseBlock

from faregate.core.money import show_credits
from faregate.wire.usage import Usage
from tests.gateway import MODEL, Gate, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
LONG = "Rules of the house, and there are many of them. " * 120


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@pytest_asyncio.fixture(loop_scope="module")
async def key(gate: Gate) -> str:
    return await gate.key()


@pytest_asyncio.fixture(loop_scope="module")
async def client(gate: Gate, key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropic(api_key=key, base_url=gate.base_url, http_client=http) as client:
        yield client


@pytest.fixture
def blocking(gate: Gate, key: str) -> Iterator[anthropic.Anthropic]:
    http = httpx2.Client(trust_env=False)
    with anthropic.Anthropic(api_key=key, base_url=gate.base_url, http_client=http) as client:
        yield client


def bill(gate: Gate, usage: Any) -> str:
    """What a usage costs, by the price list and the SDK's own reading of it."""
    split = usage.cache_creation
    return show_credits(
        gate.price().cost(
            Usage(
                input=usage.input_tokens,
                output=usage.output_tokens,
                cache_read=usage.cache_read_input_tokens or 0,
                cache_write_5m=split.ephemeral_5m_input_tokens if split else 0,
                cache_write_1h=split.ephemeral_1h_input_tokens if split else 0,
            )
        )
    )


async def test_a_call_is_answered_and_billed_by_its_usage(
    gate: Gate, key: str, client: anthropic.AsyncAnthropic
) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)

    assert message.model == MODEL and message.stop_reason == "end_turn"
    assert isinstance(message.content[0], TextBlock) and message.content[0].text.startswith("the gate opens")
    receipt = await gate.receipt(key, message.id)
    assert receipt["charged"] == bill(gate, message.usage)
    assert gate.upstream.log[-1].headers["anthropic-version"] == "2026-10-21"


async def test_the_blocking_client_rides_in_a_thread(gate: Gate, key: str, blocking: anthropic.Anthropic) -> None:
    def ride() -> tuple[str, str]:
        message = blocking.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
        with blocking.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
            assert "".join(stream.text_stream).startswith("the gate opens")
            return message.id, stream.get_final_message().id

    for message_id in await asyncio.to_thread(ride):
        assert (await gate.receipt(key, message_id))["state"] == "settled"


async def test_the_stream_helper_gathers_the_same_message_that_is_billed(
    gate: Gate, key: str, client: anthropic.AsyncAnthropic
) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()

    block = final.content[0]
    assert isinstance(block, TextBlock) and block.text == text
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 16)
    assert (await gate.receipt(key, final.id))["charged"] == bill(gate, final.usage)


async def test_raw_events_come_in_order_and_each_is_of_a_known_type(client: anthropic.AsyncAnthropic) -> None:
    stream = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)
    kinds = [event.type async for event in stream]

    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_the_quote_is_in_the_headers_before_the_first_event(client: anthropic.AsyncAnthropic) -> None:
    ask = client.messages.with_streaming_response.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)
    async with ask as response:
        assert int(response.headers["x-credits-max"]) >= int(response.headers["x-credits-estimated"]) > 0
        assert response.headers["request-id"].startswith("req_")
        lines = [line async for line in response.iter_lines()]
    assert lines[0] == "event: message_start"


async def test_a_raw_answer_tells_its_exact_charge(gate: Gate, client: anthropic.AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(model=MODEL, max_tokens=100, messages=HELLO)
    message = await raw.parse()

    assert raw.headers["x-credits-charged"] == bill(gate, message.usage)
    assert message._request_id == raw.headers["request-id"]


@pytest.mark.parametrize("way", ["plain", "streamed"])
async def test_a_tool_loop_calls_the_forced_tool_and_takes_its_result(
    gate: Gate, key: str, client: anthropic.AsyncAnthropic, way: str
) -> None:
    turns: list[MessageParam] = [{"role": "user", "content": "The weather in Paris?"}]
    ask: dict[str, Any] = {"model": MODEL, "max_tokens": 200, "messages": turns, "tools": [WEATHER]}
    ask["tool_choice"] = {"type": "tool", "name": "weather"}
    if way == "plain":
        first = await client.messages.create(**ask)
    else:
        async with client.messages.stream(**ask) as stream:
            first = await stream.get_final_message()

    assert first.stop_reason == "tool_use"
    (use,) = first.content
    assert isinstance(use, ToolUseBlock)
    assert (use.name, use.input) == ("weather", {"city": "text"})

    turns.append({"role": "assistant", "content": first.content})
    turns.append(
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain, 12 degrees"}]}
    )
    last = await client.messages.create(model=MODEL, max_tokens=200, messages=turns, tools=[WEATHER])
    assert last.stop_reason == "end_turn"
    sent = gate.upstream.log[-1].document["messages"]
    assert sent[1]["content"][0]["id"] == sent[2]["content"][0]["tool_use_id"] == use.id
    charged = [receipt["charged"] for receipt in await gate.receipts(key)]
    assert charged == [bill(gate, last.usage), bill(gate, first.usage)]


async def test_an_image_is_seen_held_by_its_maximum_and_billed_by_its_tokens(
    gate: Gate, key: str, client: anthropic.AsyncAnthropic
) -> None:
    raw = await client.messages.with_raw_response.create(
        model=MODEL,
        max_tokens=100,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ],
    )
    message = await raw.parse()

    assert gate.upstream.log[-1].document["messages"][0]["content"][0]["source"]["data"] == PIXEL
    assert message.usage.input_tokens > 1_500, "the scripted upstream counts 1,500 for an image"
    assert int(raw.headers["x-credits-max"]) >= 1_600 + 500
    assert (await gate.receipt(key, message.id))["charged"] == bill(gate, message.usage)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
async def test_a_cached_prefix_is_billed_as_a_write_and_then_as_a_read(
    gate: Gate, key: str, client: anthropic.AsyncAnthropic, ttl: Any
) -> None:
    system: Any = [{"type": "text", "text": LONG + ttl, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    first = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, system=system)
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO, system=system) as stream:
        second = await stream.get_final_message()

    written = first.usage.cache_creation_input_tokens
    assert written is not None and written > 1_000
    split = first.usage.cache_creation
    assert split is not None
    assert getattr(split, f"ephemeral_{ttl}_input_tokens") == written
    assert second.usage.cache_read_input_tokens == written and second.usage.cache_creation_input_tokens == 0

    price = gate.price()
    rate = {"5m": price.cache_write_5m, "1h": price.cache_write_1h}[ttl]
    rest = first.usage.input_tokens * price.input + first.usage.output_tokens * price.output
    read, wrote = await gate.receipts(key)
    assert wrote["charged"] == show_credits(rest + written * rate)
    assert read["charged"] == show_credits(rest + written * price.cache_read)


async def test_counting_tokens_costs_nothing(gate: Gate, key: str, client: anthropic.AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=HELLO, system="Be brief.", tools=[WEATHER])
    message = await client.messages.create(
        model=MODEL, max_tokens=10, messages=HELLO, system="Be brief.", tools=[WEATHER]
    )

    assert counted.input_tokens == message.usage.input_tokens
    assert len(await gate.receipts(key)) == 1


async def test_models_are_listed_paged_and_retrieved(client: anthropic.AsyncAnthropic) -> None:
    listed = [model async for model in client.models.list(limit=1)]

    assert {model.id for model in listed} == {"claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7"}
    haiku = await client.models.retrieve(MODEL)
    assert haiku in listed
    assert (haiku.lifecycle, haiku.max_input_tokens, haiku.max_tokens) == ("active", 200_000, 8192)
    assert haiku.capabilities is not None and haiku.capabilities.image_input.supported
    assert haiku.capabilities.batch.supported


async def test_prewarming_the_cache_generates_nothing(client: anthropic.AsyncAnthropic) -> None:
    message = await client.messages.create(model=MODEL, max_tokens=0, messages=HELLO)

    assert (message.content, message.usage.output_tokens, message.stop_reason) == ([], 0, "max_tokens")
