"""What the tests of the story share: a caller as the door makes one, and an upstream's answer that needs no socket.

The rule: the classes are the shipped ones. Only what stands outside of the program is played here: the connections of
a caller and below a reply.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from faregate.core.shown import ReceiptView
from faregate.edge.call import Call
from faregate.edge.intake import Intake
from faregate.proxy.record import CallRecord
from faregate.upstreams.reply import Reply, Timeouts
from faregate.upstreams.script import Script
from tests.edge.line import PlayedLine
from tests.gateway import ASK, Gate, wired


class Server:
    """The server's side of one call: its connection, and what was written to it."""

    def __init__(self, body: Any = ASK, *, address: str = "127.0.0.1", **headers: str) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.line = PlayedLine(address)
        self.caller = Call(self.line, named, Intake(), "req_1")
        self.caller.take(body if isinstance(body, bytes) else msgspec.json.encode(body))
        self.caller.more_body = False

    async def hang_up(self) -> None:
        """The client has gone, and the caller has heard of it."""
        self.caller.on_gone(lambda: None)
        self.line.lose(self.caller)

    @property
    def status(self) -> int:
        return self.line.said.status

    @property
    def headers(self) -> dict[str, str]:
        return self.line.said.headers

    @property
    def body(self) -> bytes:
        return self.line.said.body


class Line:
    """The connection below a reply."""

    def __init__(self) -> None:
        self.hung_up = False

    def hang_up(self) -> None:
        self.hung_up = True

    def pause(self) -> None: ...

    def resume(self) -> None: ...


def answer(
    status: int = 200, *pieces: bytes, whole: bool = True, headers: dict[str, str] | None = None
) -> tuple[Reply, Line]:
    """An upstream's answer, of which so much has come."""
    line = Line()
    reply = Reply(asyncio.get_running_loop(), line, "test", Timeouts(), 60)
    reply.take_head(status, headers or {})
    for piece in pieces:
        reply.take_body(piece)
    if whole:
        reply.end()
    return reply, line


class Watcher:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.holds: list[int] = []
        self.records: list[CallRecord] = []
        self.troubles: list[str] = []

    def reserved(self, held: int) -> None:
        self.holds.append(held)

    def finished(self, record: CallRecord) -> None:
        self.records.append(record)

    def trouble(self, request_id: str, what: str, error: BaseException | None) -> None:
        self.troubles.append(what)


class Standing(Gate):
    """A gateway that does not listen: its callers are servers' sides of requests, and its books are read directly."""

    async def receipts(self, key: str) -> list[dict[str, Any]]:
        found = await self.running.gate.keys.find(key)
        assert found is not None
        page = await self.running.gate.records.usage(
            found.wallet_id, key_id=found.id, model=None, since_ms=None, until_ms=None, before=None, limit=1_000
        )
        return [msgspec.to_builtins(ReceiptView.of(receipt)) for receipt in page.receipts]


@contextlib.asynccontextmanager
async def standing(folder: Path, *, script: Script | None = None, toml: str = "") -> AsyncIterator[Standing]:
    """A wired gateway without a listener, which is most of what starting and stopping one takes."""
    async with (
        wired(folder, script=script, toml=toml) as (gateway, upstream),
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        yield Standing(gateway, "", upstream, client)


def watched(gate: Gate) -> tuple[Any, Watcher]:
    """The wired gateway, with an observer that remembers."""
    watcher = Watcher()
    return msgspec.structs.replace(gate.running.gate, observer=watcher), watcher
