"""The answer to one request, as its reader sees it: a queue of bytes between a connection and one coroutine.

One rule: what has come is read before what went wrong, except that our own cancel drops everything at once.

    WAITING ──head──> OPEN ──last byte──> ENDED        read() gives chunks, then b"" for ever
       │               │
       └───────────────┴──fault──> FAILED              read() gives what had come, then raises, for ever

There is one future per wake-up: whoever waits makes it, and the first thing worth waking for resolves it. Chunks that
came before the reader ran are joined. While an answer is poured nobody is woken: a piece goes from the socket straight
to the sink. A deadline is not a timer: the transport's ticker calls `tick` four times a
second or so, and a chunk only adds one to a counter.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from faregate.upstreams.port import Fault, FaultKind, Sink

UNREAD_BYTES_MAX: Final = 256 * 1024
"""More than this unread and the socket is paused: a stalled reader must stall its upstream, not fill our memory."""


LEFT_S: Final = 0.5
"""For the end of an answer that is left: a terminating chunk comes with its last event or a packet later."""


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines in seconds. Kept to about a quarter of a second."""

    connect: float = 5.0
    """Name lookup, TCP, proxy and TLS together."""
    first_byte: float = 120.0
    """From the request to the whole head of a streamed answer."""
    first_byte_plain: float = 600.0
    """The same where the answer is not streamed: its head comes only when all of it has been generated."""
    idle: float = 60.0
    """Between two pieces of an answer, not counting while we ourselves have paused it."""
    total: float = 600.0
    """From the request to the last byte, not counting while we ourselves have paused it: whoever is slow to read would
    otherwise turn an answer that is paid for into a fault that is not."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if not getattr(self, field) > 0:
                raise ValueError(f"timeouts.{field}: must be more than 0 seconds")


class Line(Protocol):
    """The connection below, as far as an answer needs it."""

    def hang_up(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Reply:
    """An `Answer` of the port."""

    __slots__ = (
        "_chunks", "_ended", "_fault", "_first_byte_s", "_left_at", "_limits", "_line", "_loop", "_paused",
        "_paused_at", "_paused_s", "_pieces_ticked", "_quiet_since", "_sated", "_sent_at", "_sink", "_sink_error",
        "_source", "_unread_bytes", "_waiter", "headers", "pieces", "status",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, line: Line, source: str, limits: Timeouts, first_byte_s: float
    ) -> None:
        self.status = 0
        """0 until the head is whole."""
        self.headers: Mapping[str, str] = {}
        self.pieces = 0
        """How many times the socket has given us something; 0 means that nothing of an answer has come."""
        self._loop = loop
        self._line: Line | None = line
        self._source = source
        self._limits = limits
        self._first_byte_s = first_byte_s
        self._sent_at = self._quiet_since = loop.time()
        self._pieces_ticked = 0
        self._chunks: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._paused_at = 0.0
        self._paused_s = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._sink_error: Exception | None = None
        self._sated = False
        self._left_at: float | None = None
        self._ended = False
        self._fault: tuple[FaultKind, str] | None = None

    def __repr__(self) -> str:
        return f"<Reply {self.status} from {self._source}>"

    # The reader's side.

    async def read(self) -> bytes:
        """What has come since the last read; b"" at the clean end. Raises Fault."""
        self._sated = False
        while not self._chunks:
            if self._fault is not None:
                raise Fault(*self._fault)
            if self._ended:
                return b""
            await self._wait()
        chunks, self._chunks, self._unread_bytes = self._chunks, [], 0
        if self._paused:
            self._resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def pour(self, sink: Sink) -> bool:
        """Have the connection call `sink`, once it has taken what had come. True at the clean end. Raises Fault."""
        while piece := await self.read():
            if not sink(piece):
                self._sated = True
                return False
            if self._ended or self._fault is not None:
                continue
            self._sink = sink
            try:
                await self._wait()
                if self._sink is None:
                    if self._sink_error is not None:
                        raise self._sink_error
                    self._sated = True
                    return False
            finally:
                self._sink = None
        return True

    async def head(self) -> None:
        """Wait until the status is known. Raises Fault."""
        while not self.status:
            if self._fault is not None:
                raise Fault(*self._fault)
            await self._wait()

    def cancel(self) -> None:
        """Stop it now and close its connection; nothing at all when it was read to its end."""
        if self._ended and not self._chunks:
            return
        if self._fault is None or self._chunks:
            self._chunks, self._unread_bytes = [], 0
            self._fault = (FaultKind.CANCELLED, f"the answer of {self._source} was cancelled by us")
        self._leave_line()
        self._wake()

    def leave(self) -> None:
        """Let it end by itself within LEFT_S, if nothing but its end is still to come."""
        if self._chunks or self._paused or self._line is None:
            self.cancel()
        else:
            self._left_at = self._loop.time()

    async def _wait(self) -> None:
        assert self._waiter is None, "an answer has one reader at a time"
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _pause(self) -> None:
        if not self._paused and self._line is not None:
            self._paused = True
            self._paused_at = self._loop.time()
            self._line.pause()

    def _resume(self) -> None:
        self._paused = False
        self._quiet_since = now = self._loop.time()
        self._paused_s += now - self._paused_at
        if self._line is not None:
            self._line.resume()

    def _leave_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.hang_up()

    # The connection's side.

    def take_head(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._wake()

    def take_body(self, piece: bytes) -> None:
        sink = self._sink
        if sink is not None:
            try:
                if sink(piece):
                    return
            except Exception as error:  # It is its giver's, and not the connection's below.
                self._sink_error = error
            self._sink = None
            self._wake()
            return
        if self._left_at is not None:
            self.cancel()
            return
        self._chunks.append(piece)
        self._unread_bytes += len(piece)
        # Whoever has had enough is likely to stall: then one piece more is all that waits here.
        if self._unread_bytes > (0 if self._sated else UNREAD_BYTES_MAX):
            self._pause()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def end(self) -> None:
        """The last byte has come. The connection below is free again: from here on we do not know it."""
        self._ended = True
        self._line = None
        self._wake()

    def fail(self, kind: FaultKind, message: str) -> None:
        """It will never end well. The first fault stands, and the connection is not ours any more."""
        if self._fault is None and not self._ended:
            self._fault = (kind, message)
            self._line = None
            self._wake()

    def overdue(self, now: float) -> str | None:
        """What deadline has passed, as a sentence for the log, or None. Called by the ticker alone."""
        if self._paused or self.pieces != self._pieces_ticked:
            self._pieces_ticked = self.pieces
            self._quiet_since = now
        limits = self._limits
        if self._left_at is not None and now - self._left_at >= LEFT_S:
            return f"{self._source} did not end its answer within {LEFT_S:g} s of its last event"
        if not self._paused and now - self._sent_at - self._paused_s >= limits.total:
            return f"{self._source} did not finish its answer within {limits.total:g} s (timeouts.total)"
        if not self.status and now - self._sent_at >= self._first_byte_s:
            return f"{self._source} did not begin its answer within {self._first_byte_s:g} s (timeouts.first_byte)"
        if self.status and now - self._quiet_since >= limits.idle:
            return f"{self._source} fell silent for {limits.idle:g} s within its answer (timeouts.idle)"
        return None

    def age(self, now: float) -> float:
        """Seconds since the request was written."""
        return now - self._sent_at
