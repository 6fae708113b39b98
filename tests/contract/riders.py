"""What the claims of money share: messages whose usage is known, and a caller on a bare socket who sees every byte.

The rule: a caller here decides nothing and waits for bytes, never for time.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Self

import msgspec

from faregate.wire import sse
from tests.gateway import ASK, Gate

PATIENCE_S = 30
"""A generous bound: it is met only by what would never come."""

ZEROS = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
NO_RETRY = "[retry]\nattempts_max = 1\n"


def message(text: str = "Hello from upstream", /, **usage: Any) -> dict[str, Any]:
    """An upstream's message that reports exactly this usage."""
    return {
        "id": "msg_theirs", "type": "message", "role": "assistant", "model": "their-model",
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip


class Rider:
    """One connection to the gateway, read as raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.seen = b""
        """Everything that has come, head and framing included."""

    @classmethod
    async def connect(cls, gate: Gate) -> Self:
        host, port = gate.base_url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    @classmethod
    async def ask(cls, gate: Gate, key: str, body: Any = ASK, **headers: str) -> Self:
        """Connect and send a whole request."""
        rider = await cls.connect(gate)
        await rider.send(request(key, body, **headers))
        return rider

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Read until these bytes have come; give everything up to and with them."""
        async with asyncio.timeout(PATIENCE_S):
            while mark not in self.seen:
                await self.more()
        return self.seen[: self.seen.index(mark) + len(mark)]

    async def more(self) -> None:
        """Read what comes next; there must be something."""
        data = await asyncio.wait_for(self._reader.read(65_536), PATIENCE_S)
        assert data, f"the connection ended here: {self.seen!r}"
        self.seen += data

    async def whole(self) -> bytes:
        """Read a chunked answer to its end."""
        return await self.until(b"\r\n0\r\n\r\n")

    async def rest(self) -> bytes:
        """Read until the gateway closes."""
        async with asyncio.timeout(PATIENCE_S):
            while data := await self._reader.read(65_536):
                self.seen += data
        return self.seen

    def leave(self) -> None:
        """Close the socket, as a client that is gone does."""
        self._writer.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on reading."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Leave with a RST, as a killed process or a pulled cable's NAT does."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    @property
    def status(self) -> int:
        return int(self.seen.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        head = self.seen.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}

    @property
    def body(self) -> bytes:
        """The chunks that have come whole, without their framing."""
        data, body = self.seen.partition(b"\r\n\r\n")[2], b""
        while (at := data.find(b"\r\n")) > 0 and (size := int(data[:at], 16)) and len(data) >= at + 2 + size:
            body += data[at + 2 : at + 2 + size]
            data = data[at + 4 + size :]
        return body

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(frame.data) for frame in sse.frames(self.body) if frame.data]


def request(key: str, body: Any = ASK, **headers: str) -> bytes:
    """A call as it stands on the wire."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = ["POST /v1/messages HTTP/1.1", "host: gateway", f"x-api-key: {key}", "anthropic-version: 2023-06-01"]
    lines += [f"content-length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def streamed(**fields: Any) -> dict[str, Any]:
    """A body that asks for a stream."""
    return {**ASK, "stream": True, **fields}


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def loss(gate: Gate, name: str) -> int:
    """What the operator has lost under this name, in nanodollars."""
    balances = await gate.running.store.office.operator_accounts()
    return -balances[name]
