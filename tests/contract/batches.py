"""What tests of batches share: a batch's body, the official SDK on a gateway, and waiting until one has ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse

from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import Play, Seen, plain
from tests.contract.riders import message
from tests.gateway import Gate, ask, running

OPENING = 1_000_000 * NANOS_PER_CREDIT
GOOD = message(input_tokens=5, output_tokens=3)
COST = (5 * 1_000 + 3 * 5_000) // 2
PATH = "/v1/messages/batches"
LEFT = "[batches]\nconcurrency = 0"
"""A gateway that takes batches and runs none."""


def good(seen: Seen) -> Play:
    return plain(GOOD)


def body(*names: str, **params: Any) -> dict[str, Any]:
    return {"requests": [{"custom_id": name, "params": ask(**params)} for name in names]}


@contextlib.asynccontextmanager
async def sdk(gate: Gate, key: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = httpx2.AsyncClient(trust_env=False)
    async with anthropic.AsyncAnthropic(api_key=key, base_url=gate.base_url, http_client=http, max_retries=0) as client:
        yield client


async def ended(client: anthropic.AsyncAnthropic, batch_id: str) -> MessageBatch:
    async with asyncio.timeout(60):
        while True:
            found = await client.messages.batches.retrieve(batch_id)
            if found.processing_status == "ended":
                return found
            await asyncio.sleep(0.02)


async def results(client: anthropic.AsyncAnthropic, batch_id: str) -> dict[str, MessageBatchIndividualResponse]:
    return {line.custom_id: line async for line in await client.messages.batches.results(batch_id)}


@contextlib.asynccontextmanager
async def left(folder: Path, script: Any = good) -> AsyncIterator[Gate]:
    async with running(folder, script=script, toml=LEFT) as gate:
        yield gate


async def made(gate: Gate, key: str, *names: str, **params: Any) -> dict[str, Any]:
    answer = await gate.post(PATH, key, body(*names, **params))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def over(gate: Gate, key: str, batch_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (found := (await gate.get(f"{PATH}/{batch_id}", key)).json())["processing_status"] != "ended":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return dict(found)
