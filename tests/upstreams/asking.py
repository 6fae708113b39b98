"""What tests of the upstream floor share: an ask, reading an answer whole, waiting for what must come, open sockets."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from faregate.upstreams.origin import Origin, parse_base_url, request_head
from faregate.upstreams.port import Answer, Ask
from faregate.upstreams.reply import Reply
from faregate.upstreams.transport import Transport


def ask(*, stream: bool = False, version: str = "2023-06-01", beta: str | None = None, **more: Any) -> Ask:
    document: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Which gate opens?"}],
        "stream": stream,
        **more,
    }
    return Ask(
        document=document,
        body=msgspec.json.encode(document),
        model="claude-haiku-4-5",
        stream=stream,
        version=version,
        beta=beta,
        wallet_id="wallet",
    )


def target(base_url: str) -> tuple[Origin, bytes]:
    """An origin and the head of a request to its /v1/messages."""
    origin, prefix = parse_base_url(base_url)
    return origin, request_head(origin, f"{prefix}/v1/messages", [("content-type", "application/json")])


async def post(transport: Transport, base_url: str, body: bytes | None = None) -> Reply:
    origin, head = target(base_url)
    return await transport.send(origin, head, ask().body if body is None else body)


async def whole(answer: Answer) -> bytes:
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return b"".join(pieces)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what must come; how long it takes is not the test's subject."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a kernel buffer or another library
            await asyncio.sleep(0.005)


def open_sockets() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith("socket:")
        except OSError:
            continue
    return count
