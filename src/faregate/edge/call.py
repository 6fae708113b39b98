"""One request to /v1/messages on its connection, as `proxy.port.Caller` has it: no ASGI stands between (record 16).

uvicorn's protocol knows it as the cycle of that request, and calls what it calls there by uvicorn's names.

    bytes of the body ──take──> body()          answer(), or start() send()... end() ──> one write each
    loss of the connection ──> on_gone's callback, or CallerGone of a body that was still awaited

A stream's head goes out with its first bytes, and its last bytes with the end of its framing: a packet each.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from faregate.core.errors import GatewayError, NotReady
from faregate.edge.errors import envelope, render
from faregate.edge.intake import CLOSE, Intake, client_address, fields
from faregate.proxy.port import Headers
from faregate.proxy.verdict import CallerGone
from faregate.wire import sse

CUT_OFF_S: Final = 1.0
"""For the last word to a caller whose call a stopping server has cancelled."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_CACHE: Final = (b"cache-control", b"no-cache")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")


class Line(Protocol):
    """A caller's connection, as far as one of its requests knows it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: FlowControl
    client: tuple[str, int] | None
    on_lost: Callable[[], None] | None
    """Called when the connection is lost."""
    lost: bool

    @property
    def default_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """What every answer carries: the date."""

    def on_response_complete(self) -> None:
        """The next request may be answered."""


class Call:
    """A request whose head has come."""

    __slots__ = (
        "_awaits_continue", "_body", "_callbacks", "_chunks", "_fields", "_head", "_intake", "_last", "_line", "_over",
        "_size", "_waiter", "_wanted", "address", "arrived", "disconnected", "gone", "keep_alive", "more_body",
        "request_id", "response_complete", "response_started",
    )  # fmt: skip

    def __init__(
        self,
        line: Line,
        headers: Sequence[tuple[bytes, bytes]],
        intake: Intake,
        request_id: str,
        *,
        keep_alive: bool = True,
        awaits_continue: bool = False,
        chunks: bool = True,
    ) -> None:
        """`chunks`: whether its sender knows them; HTTP/1.0 does not, and a stream to it ends with its connection."""
        self.arrived = line.loop.time()
        self.request_id = request_id
        self.address = client_address(line.client, headers, intake.trusted_proxies)
        self.gone = False
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self._line = line
        self._fields = fields(headers)
        self._intake = intake
        self._awaits_continue = awaits_continue
        self._chunks = chunks
        self._body = bytearray()
        self._size = 0
        self._wanted = False
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._head = b""
        """Of a stream: its head, until the first bytes take it along."""
        self._over = False
        self._last = b""
        """The last word, once it was said and until it is written."""

    # What the protocol tells.

    async def run_asgi(self, door: Any) -> None:
        """Be served, by the door that uvicorn knows as its application."""
        try:
            await door.serve(self)
        finally:
            if not self.response_complete and not self.disconnected:
                self._line.transport.close()

    def take(self, piece: bytes) -> None:
        """A piece of the body. Before anybody has asked for it, no more than HIGH_WATER_LIMIT of it is let in."""
        if self.response_complete:
            return  # It was refused: what still comes is thrown away.
        self._size += len(piece)
        if self._size > self._intake.body_bytes_max:
            self._body.clear()
            self.set()
            return
        self._body += piece  # One buffer: a body in two-byte pieces would else take twenty times its size.
        if not self._wanted and self._size > HIGH_WATER_LIMIT:
            self._line.flow.pause_reading()

    @property
    def message_event(self) -> "Call":
        """What uvicorn sets when there is something to look at."""
        return self

    def set(self) -> None:
        """Wake who waits for the body."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the story asks.

    def header(self, name: bytes) -> str | None:
        value = self._fields.get(name)
        return value.decode("latin-1") if value is not None else None

    async def body(self) -> bytes:
        self._intake.judge_head(self._fields)
        self._wanted = True
        self._line.flow.resume_reading()
        if self._awaits_body:
            await self._arrival()
        if self.disconnected:
            self.gone = True
            raise CallerGone
        if self._size > self._intake.body_bytes_max:
            raise self._intake.too_large()
        body, self._body = bytes(self._body), bytearray()
        return body

    @property
    def _awaits_body(self) -> bool:
        return self.more_body and not self.disconnected and self._size <= self._intake.body_bytes_max

    async def _arrival(self) -> None:
        if self._awaits_continue:
            self._line.transport.write(_CONTINUE)
        try:
            async with asyncio.timeout(self._intake.body_timeout_s):
                while self._awaits_body:
                    self._waiter = self._line.loop.create_future()
                    await self._waiter
        except TimeoutError:
            raise self._intake.too_late() from None
        finally:
            self._waiter = None

    def on_gone(self, callback: Callable[[], None]) -> None:
        if self.gone:
            callback()
            return
        self._callbacks.append(callback)
        self._line.on_lost = self._left
        if self._line.lost:
            self._left()

    def _left(self) -> None:
        if self._over:
            return  # Whoever has had the last word may go.
        self.gone = True
        callbacks, self._callbacks = self._callbacks, []  # Once; and what they are of is not kept by us.
        for callback in callbacks:
            callback()

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        sized = [*headers, (b"content-length", b"%d" % len(body)), (b"request-id", self.request_id.encode())]
        await self._finish(self._rendered(status, sized) + body)

    async def start(self, headers: Headers) -> None:
        self.response_started = True
        framing = [_NO_CACHE, _CHUNKED] if self._chunks else [_NO_CACHE]
        self._head = self._rendered(200, [*headers, (b"request-id", self.request_id.encode()), *framing])

    def send(self, data: bytes) -> None:
        if not self.disconnected:
            self._line.transport.write(self._chunk(data))

    @property
    def keeps_up(self) -> bool:
        return not self._line.flow.write_paused

    async def drain(self) -> None:
        if self._line.flow.write_paused and not self.disconnected:
            await self._line.flow.drain()

    async def end(self, data: bytes) -> None:
        await self._finish(self._chunk(data) + (b"0\r\n\r\n" if self._chunks else b""))

    async def refuse(self, error: GatewayError) -> None:
        if self.response_started:
            await self.end(sse.render(b"error", msgspec.json.encode(envelope(error, self.request_id))))
            return
        status, headers, body = render(error, self.request_id)
        await self._finish(self._rendered(status, headers) + body)

    async def cut_off(self) -> None:
        """Say that the gateway stops; a caller who has stopped reading is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_OFF_S):
                if self._over:  # The last word had been said, and billed if it was an answer: it stays the last.
                    await self._finish(self._last)
                else:
                    await self.refuse(NotReady("The gateway is stopping. Ask again in a moment.", code="shutting_down"))

    async def _finish(self, last: bytes) -> None:
        if self.response_complete:
            return
        self._over = self.response_started = True
        self._last = last
        await self.drain()
        self._last = b""
        # Nobody is called back any more, and what waited for that may go.
        self._callbacks.clear()
        self._body.clear()
        if self.disconnected:
            return
        self._line.transport.write(last)
        self.response_complete = True
        if not self.keep_alive:
            self._line.transport.close()
        self._line.on_response_complete()

    def _chunk(self, data: bytes) -> bytes:
        head, self._head = self._head, b""
        if not self._chunks:
            return head + data
        return b"%b%x\r\n%b\r\n" % (head, len(data), data) if data else head

    def _rendered(self, status: int, headers: Headers) -> bytes:
        if CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, CLOSE]
        lines = [b"%b: %b\r\n" % header for header in (*self._line.default_headers, *headers)]
        fields = b"".join(lines)
        assert fields.count(b"\n") == len(lines), "a line break in a header"
        return b"%b%b\r\n" % (STATUS_LINE[status], fields)
