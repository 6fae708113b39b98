"""A Connection driven by hand: a stand-in for asyncio's transport, and the exchange over it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from faregate.upstreams.connection import Connection
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Reply, Timeouts


class Wire(asyncio.Transport):
    """asyncio's side of a connection, as far as one is used."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.reading = True
        self.unsent = 0

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Ledger:
    """An Owner that notes what it is told."""

    def __init__(self) -> None:
        self.free: list[Connection] = []
        self.gone: list[Connection] = []

    def released(self, connection: Connection) -> None:
        self.free.append(connection)

    def lost(self, connection: Connection) -> None:
        self.gone.append(connection)


class Exchange:
    """One request on a connection of its own, and what became of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = Ledger()
        self.wire = Wire()
        self.connection = Connection(loop, self.owner, "upstream:1")
        self.connection.connection_made(self.wire)
        self.reply = self.connection.start(b"request", Timeouts(), 5.0)

    def feed(self, *pieces: bytes) -> "Exchange":
        for piece in pieces:
            if not self.wire.aborted:
                self.connection.data_received(piece)
        return self

    def eof(self, exc: Exception | None = None) -> "Exchange":
        if exc is None:
            self.connection.eof_received()
        self.connection.connection_lost(exc)
        return self

    def body(self) -> bytes:
        """Everything up to the clean end. Raises Fault."""
        return drain(self.reply)

    @property
    def kept(self) -> bool:
        return bool(self.owner.free) and not self.wire.aborted


T = TypeVar("T")


def now(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise AssertionError("it waits")


def drain(reply: Reply) -> bytes:
    data = b""
    while piece := now(reply.read()):
        data += piece
    return data


def fault_of(exchange: Exchange) -> FaultKind:
    with pytest.raises(Fault) as caught:
        exchange.body()
    return caught.value.kind
