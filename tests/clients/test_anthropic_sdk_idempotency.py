"""The official Python SDK with an `Idempotency-Key`: its own retries carry the same key, and are billed once.

Method: `anthropic` as a user would write it, with the header in `extra_headers`; upstream's log and the books are read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, MessageParam

from faregate.upstreams.script import failure, plain, stream
from tests.contract.handmade import by_hand
from tests.contract.riders import NO_RETRY
from tests.contract.test_idempotency import COST, FRAMES, GOOD, OPENING
from tests.contract.test_kept_answers import KEEPS
from tests.gateway import MODEL, Gate, running

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
ONCE = {"Idempotency-Key": "once"}


@asynccontextmanager
async def sdk(gate: Gate, key: str, **options: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropic(api_key=key, base_url=gate.base_url, http_client=http, **options) as client:
        yield client


async def create(client: anthropic.AsyncAnthropic) -> Message:
    return await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, extra_headers=ONCE)


async def test_its_retries_behind_a_failure_are_made_and_billed_once(folder: Path) -> None:
    script = [
        failure(500, "api_error", "no", retry_after="0"),
        failure(529, "overloaded_error", "no", retry_after="0"),
        plain(GOOD),
    ]
    async with running(folder, script=script, toml=NO_RETRY) as gate:
        key = await gate.key()
        async with sdk(gate, key, max_retries=2) as client:
            message = await create(client)

        assert len(gate.upstream.log) == 3
        assert [receipt["id"] for receipt in await gate.receipts(key) if receipt["charged"] != "0"] == [message.id]
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_call_that_is_done_is_a_conflict_that_it_does_not_repeat(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD)]) as gate:
        async with sdk(gate, await gate.key(), max_retries=2) as client:
            message = await create(client)
            with pytest.raises(anthropic.ConflictError) as refused:
                await create(client)
            metrics = (await gate.get("/metrics")).text

        body: Any = refused.value.body
        assert body["error"]["details"]["receipt"]["id"] == message.id
        assert 'outcome="refused",status="409"} 1.0' in metrics, "it was asked once"


async def test_where_answers_are_kept_it_gets_the_same_message_and_the_same_stream(folder: Path) -> None:
    async with running(folder, script=[plain(GOOD), stream(GOOD)], toml=KEEPS) as gate:
        async with sdk(gate, await gate.key()) as client:
            assert await create(client) == await create(client)
            with pytest.raises(anthropic.UnprocessableEntityError):
                await streamed(client)  # It asks for a stream, so it is another call under the same key.
            key = {"Idempotency-Key": "twice"}
            told = [await streamed(client, key) for _ in range(2)]

        assert told[0] == told[1]
        assert len(gate.upstream.log) == 2
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_a_call_in_flight_is_asked_for_again_until_its_answer_is_there(folder: Path) -> None:
    async with by_hand(folder, toml=KEEPS) as (gate, upstream):
        async with sdk(gate, await gate.key(), max_retries=5) as client:
            first = asyncio.create_task(streamed(client))
            turn = await upstream.turn()
            again = asyncio.create_task(streamed(client))
            await refused(gate)
            turn.begin(*FRAMES)
            turn.finish()
            messages = await asyncio.gather(first, again)

        assert messages[0] == messages[1] and messages[0].stop_reason == "end_turn"
        assert upstream.turns == 1
        assert await gate.books() == (OPENING - COST, 0)


async def streamed(client: anthropic.AsyncAnthropic, key: dict[str, str] = ONCE) -> Message:
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO, extra_headers=key) as streaming:
        return await streaming.get_final_message()


async def refused(gate: Gate) -> None:
    """Wait until a call was told that it is in flight."""
    async with asyncio.timeout(30):
        while 'status="409"' not in (await gate.get("/metrics")).text:  # noqa: ASYNC110 - the figures alone tell
            await asyncio.sleep(0.01)
