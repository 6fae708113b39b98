"""The official Python SDK rides over an upstream that speaks Chat Completions, and is billed by that peer's own counts.

Method: `anthropic` as a user would write it, a running gateway, and a peer on loopback that plays what vLLM sends; the
receipt is compared with what the peer told.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolUseBlock

from faregate.core.money import show_credits
from faregate.wire.usage import Usage
from tests.gateway import MODEL, Gate, running
from tests.upstreams.chat_peer import TOOL, ChatPeer, Played, call, data, delta, refusal, stream, usage

HELLO: list[MessageParam] = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER: ToolParam = {"name": "weather", "description": "Of a city.", "input_schema": TOOL}
CALL = stream(
    delta(content="I will "),
    delta(content="look."),
    delta(tool_calls=[call(0, "", call_id="chatcmpl-tool-1", name="weather")]),
    *(delta(tool_calls=[call(0, piece)]) for piece in ('{"ci', 'ty": "Pa', 'ris"}')),
    delta(finish="tool_calls", choice={"stop_reason": None}),
    told=usage(420, 31, cached=400),
)
SUNNY = stream(delta(content="It is sunny."), delta(finish="stop"), told=usage(460, 5))


class House:
    """A gateway before a peer, and a caller's client."""

    def __init__(self, gate: Gate, peer: ChatPeer, key: str, client: anthropic.AsyncAnthropic) -> None:
        self.gate, self.peer, self.key, self.client = gate, peer, key, client

    def plays(self, *bodies: bytes | Played) -> None:
        self.peer.plays = [body if isinstance(body, Played) else Played(body=body, piece=50) for body in bodies]

    def stream(self, messages: list[MessageParam] = HELLO) -> Any:
        return self.client.messages.stream(model=MODEL, max_tokens=100, messages=messages, tools=[WEATHER])

    def price(self, **used: int) -> str:
        return show_credits(self.gate.price().cost(Usage(**used)))

    async def spent(self) -> str:
        return show_credits(1_000_000_000 - (await self.gate.books())[0])


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with ChatPeer(Played(body=CALL)) as peer:
        toml = (
            f'[[upstreams]]\nname = "vllm"\nkind = "openai"\nbase_url = "{peer.base_url}"\n'
            f'[upstreams.models]\n"{MODEL}" = "Qwen/Qwen3"\n'
            f'[[routes]]\nmodel = "{MODEL}"\nupstreams = ["vllm"]\n[retry]\nattempts_max = 1\n'
        )
        async with running(tmp_path, toml=toml) as gate:
            key = await gate.key()
            http = httpx2.AsyncClient(trust_env=False)
            async with anthropic.AsyncAnthropic(
                api_key=key, base_url=gate.base_url, http_client=http, max_retries=0
            ) as client:
                yield House(gate, peer, key, client)


async def test_a_tool_call_streams_and_its_receipt_is_what_the_peer_told(house: House) -> None:
    async with house.stream() as stream_:
        guess = (await anext(aiter(stream_))).message.usage.input_tokens
        final = await stream_.get_final_message()

    text, tool = final.content
    assert isinstance(text, TextBlock) and text.text == "I will look."
    assert isinstance(tool, ToolUseBlock) and (tool.name, tool.input) == ("weather", {"city": "Paris"})
    assert final.stop_reason == "tool_use" and final.model == MODEL
    assert guess > 20, "our estimate stands there until the peer has counted"
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (20, 400, 31)
    assert house.peer.log[0].body["model"] == "Qwen/Qwen3"
    receipt = await house.gate.receipt(house.key, final.id)
    assert receipt["basis"] == "upstream"
    assert receipt["charged"] == house.price(input=20, cache_read=400, output=31) == await house.spent()
    assert receipt["attempts"] == len(house.peer.log) == 1


async def test_the_conversation_goes_on_with_the_tools_result(house: House) -> None:
    house.plays(CALL, SUNNY)
    async with house.stream() as stream_:
        called = await stream_.get_final_message()
    tool = called.content[1]
    assert isinstance(tool, ToolUseBlock)
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": tool.id, "content": "25 C", "is_error": False}],
    }
    async with house.stream([*HELLO, {"role": "assistant", "content": called.content}, result]) as stream_:
        assert "".join([piece async for piece in stream_.text_stream]) == "It is sunny."

    _, said, told = house.peer.log[1].body["messages"]
    assert said["tool_calls"][0]["id"] == told["tool_call_id"] == tool.id == "chatcmpl-tool-1"
    assert told == {"role": "tool", "tool_call_id": tool.id, "content": "25 C"}
    assert house.peer.connections == 1, "the first one serves again"


async def test_an_answer_that_the_peer_did_not_count_is_billed_by_our_count_and_says_so(house: House) -> None:
    house.plays(stream(delta(content="It is sunny."), delta(finish="stop")))
    async with house.stream() as stream_:
        final = await stream_.get_final_message()

    receipt = await house.gate.receipt(house.key, final.id)
    assert receipt["basis"] == "counted"
    assert receipt["charged"] == house.price(input=final.usage.input_tokens, output=3)


async def test_a_caller_who_leaves_pays_for_the_estimated_input_and_what_was_made(house: House) -> None:
    house.plays(Played(body=CALL[: CALL.index(b'"look."')], stalls=True))
    async with house.stream() as stream_:
        async for _ in stream_.text_stream:
            break
        guess = stream_.current_message_snapshot.usage.input_tokens
    await house.peer.hung_up.wait()
    (receipt,) = await house.gate.settled(house.key)

    assert (receipt["basis"], receipt["outcome"]) == ("counted", "client_gone")
    assert receipt["charged"] == house.price(input=guess, output=2)


async def test_a_prompt_that_is_too_long_is_a_400_that_clients_recover_by_and_costs_nothing(house: House) -> None:
    message = "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."
    house.plays(refusal(400, message, code=400))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 5000 tokens > 4096 maximum") as refused:
        async with house.stream():
            pass
    assert refused.value.body["error"]["details"]["error_code"] == "context_length_exceeded"  # type: ignore[index]
    assert await house.spent() == "0"


async def test_an_error_within_the_stream_ends_it_and_costs_nothing(house: House) -> None:
    house.plays(stream(delta(content="It is"), data(error={"message": "EngineDeadError", "code": 500})))
    with pytest.raises(anthropic.APIStatusError):
        async with house.stream() as stream_:
            await stream_.get_final_message()
    await house.gate.settled(house.key)
    assert await house.spent() == "0"


async def test_a_peer_that_refuses_the_operators_key_is_no_matter_of_the_callers(house: House) -> None:
    house.plays(refusal(401, "Incorrect API key provided: sk-oper***ator"))
    with pytest.raises(anthropic.InternalServerError, match="refused this gateway's access"):
        async with house.stream():
            pass
    assert await house.spent() == "0"
