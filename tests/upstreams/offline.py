"""What tests that run the offline model share: the model, calls that get the same answer each time, and its slots."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
import structlog

from faregate.upstreams.local import Local
from faregate.upstreams.local_process import Sizes
from faregate.upstreams.port import Ask
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask, whole

STORY = "The gate stood at the end of a long road, and nobody in the town could say who had built it. " * 12
_ROW = {"type": "array", "minItems": 16, "maxItems": 16, "items": {"type": "integer"}}
_PAGE = {**_ROW, "items": _ROW}
LONG = {"format": {"type": "json_schema", "schema": {**_ROW, "items": _PAGE}}}
"""An `output_config` that takes minutes to keep to, whatever the model would say by itself: 4,096 numbers."""


@asynccontextmanager
async def running(model_file: str | None = None, sizes: Sizes | None = None) -> AsyncIterator[Local]:
    transport = Transport()
    made = Local(
        name="local",
        transport=transport,
        model_file=model_file,
        log=structlog.get_logger(),
        sizes=sizes,
        # The salt is part of every prompt: with a random one, no test would see the same answer twice.
        secret=b"the tests' own",
    )
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        await transport.aclose()


def asked(wallet: str = "wallet", *, say: str = "What is the capital of France?", **more: Any) -> Ask:
    """A call that gets the same answer each time."""
    document = {"temperature": 0, "max_tokens": 40, "messages": [{"role": "user", "content": say}], **more}
    return msgspec.structs.replace(ask(**document), wallet_id=wallet)


async def plain(local: Local, call: Ask) -> dict[str, Any]:
    answer = await local.send(call)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    message: dict[str, Any] = msgspec.json.decode(await whole(answer))
    return message


async def slots(local: Local) -> list[dict[str, Any]]:
    """What the model is at, by its own word."""
    running = local.process.running
    assert running is not None
    async with httpx2.AsyncClient(headers={"x-api-key": running.key}, timeout=60) as client:
        found: list[dict[str, Any]] = (await client.get(f"http://{running.origin.authority}/slots")).json()
    return found


async def slots_at_work(local: Local) -> int:
    return sum(slot["is_processing"] for slot in await slots(local))


async def writing(local: Local) -> None:
    """Wait until some call has got words from the model."""
    async with asyncio.timeout(60):
        while not await _decoded(local):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


async def _decoded(local: Local) -> bool:
    return any(slot["is_processing"] and slot["next_token"][0]["n_decoded"] > 3 for slot in await slots(local))


async def idle(local: Local) -> None:
    async with asyncio.timeout(60):
        while await slots_at_work(local):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)
