"""A caller's connection, played: it remembers what was written to it, stops taking more when told, and can be lost."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl

from faregate.edge.call import Call


class Said:
    """What was written so far, as a client reads it."""

    def __init__(self, data: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode()] = value.decode()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class PlayedLine:
    """Both the line and its transport."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.loop = asyncio.get_running_loop()
        self.transport = cast(Any, self)
        self.flow = FlowControl(self.transport)
        self.client: tuple[str, int] | None = (address, 1)
        self.on_lost: Callable[[], None] | None = None
        self.lost = False
        self.written: list[bytes] = []
        self.reading = True
        self.closed = False
        self.answered = 0

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        return [(b"date", b"today")]

    def on_response_complete(self) -> None:
        self.answered += 1

    def lose(self, call: Call) -> None:
        """What the protocol does when the connection is lost."""
        call.disconnected = True
        call.message_event.set()
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    @property
    def said(self) -> Said:
        return Said(b"".join(self.written))

    # The transport.

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = True
