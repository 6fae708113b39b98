"""A real HTTP server on loopback that plays a script: faults, pace and all.

One rule: it notes what it saw and did, and decides nothing; the script and the mimic decide.

    request whole ──> Seen (into the log) ──> play ──> pieces, one after another ──> ending
                                                          └── the other side leaves: hung_up

Fast enough never to be what a benchmark measures: an answer without gaps is one write of bytes that were made before. A
longer one is written as the reader takes it, so `Seen.bytes_written` stops when the reader does.
"""

import asyncio
import collections
import contextlib
import socket
import ssl
import struct
from typing import Final, cast

import httptools

from faregate.upstreams.mimic import Mimic
from faregate.upstreams.script import GARBAGE, End, Play, Script, Seen

SEEN_MAX: Final = 1_000
"""Requests kept in the log; the oldest go first."""
ONE_WRITE_BYTES_MAX: Final = 256 * 1024


class ScriptedServer:
    """Start it, read `base_url`, look into `log`."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        seen_max: int = SEEN_MAX,
    ) -> None:
        """Port 0 takes a free one. A `context` makes it https."""
        self.log: collections.deque[Seen] = collections.deque(maxlen=seen_max)
        self.connections = 0
        """How many were ever accepted."""
        self.base_url = ""
        self._host = host
        self._port = port
        self._context = context
        self._mimic = Mimic()
        self._count = 0
        self._played = 0
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.play(script)

    def play(self, script: Script | None) -> None:
        """Play this from the next request on."""
        self._script = script
        self._played = 0

    @property
    def open_connections(self) -> int:
        return len(self._lines)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Line(self, loop), self._host, self._port, ssl=self._context, backlog=1024
        )
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.base_url = f"{'https' if self._context else 'http'}://{host}:{port}"

    async def stop(self) -> None:
        """Close the door and every connection. Safe to repeat."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self.drop()
        await server.wait_closed()
        if self._lines:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def drop(self) -> None:
        """Close every connection, busy or idle, as a restart would."""
        for line in list(self._lines):
            line.abort()

    def choose(self, seen: Seen) -> Play:
        """Note a request and find its play."""
        self.log.append(seen)
        play: Play | None = None
        if callable(self._script):
            play = self._script(seen)
        elif self._script is not None and self._played < len(self._script):
            play = self._script[self._played]
            self._played += 1
        return play if play is not None else self._mimic.answer(seen.path, seen.body, seen.at)

    def number(self) -> int:
        self._count += 1
        return self._count - 1

    def joined(self, line: "_Line") -> None:
        self.connections += 1
        self._lines.add(line)

    def left(self, line: "_Line") -> None:
        self._lines.discard(line)
        if self._emptied is not None and not self._lines and not self._emptied.done():
            self._emptied.set_result(None)


class _Line(asyncio.Protocol):
    """One connection from a client: one request at a time."""

    def __init__(self, server: ScriptedServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._seen: Seen | None = None
        self._play = Play()
        self._timer: asyncio.TimerHandle | None = None
        self._writable = True
        self._stalled = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.joined(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def eof_received(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._seen is not None:
            self._seen.hung_up = True
            self._done()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._stalled:
            self._stalled = False
            self._step()

    def abort(self) -> None:
        self._transport.abort()

    # httptools' callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("latin-1")
        seen = Seen(
            index=self._server.number(),
            method=method,
            path=self._url.decode("latin-1"),
            headers=self._headers,
            body=body,
            at=self._loop.time(),
        )
        self._begin()
        self._seen = seen
        self._play = play = self._server.choose(seen)
        if play.head_delay_ms:
            self._timer = self._loop.call_later(play.head_delay_ms / 1000, self._step)
        elif play.gap_ms or len(play.whole) > ONE_WRITE_BYTES_MAX:
            self._step()
        else:
            self._write(play.whole, len(play.pieces))
            self._end()

    # The play

    def _write(self, data: bytes, frames: int) -> None:
        seen = self._seen
        assert seen is not None
        seen.frames_written += frames
        seen.bytes_written += len(data)
        if data:
            self._transport.write(data)

    def _step(self) -> None:
        """Write what is due: one piece and wait for the gap, or pieces until the reader has enough."""
        seen, play = self._seen, self._play
        if seen is None or self._transport.is_closing():
            return
        while seen.frames_written < len(play.pieces):
            if not self._writable:
                self._stalled = True
                return
            self._write(play.pieces[seen.frames_written], 1)
            if play.gap_ms and seen.frames_written < len(play.pieces):
                self._timer = self._loop.call_later(play.gap_ms / 1000, self._step)
                return
        self._end()

    def _end(self) -> None:
        play = self._play
        if play.ending is End.STALL:
            return
        if play.ending is End.RESET:
            self._reset()
        elif play.ending is End.GARBAGE and not play.pieces:
            self._transport.write(GARBAGE)
            self._transport.close()
        elif play.ending is not End.CLEAN or play.framing == "close" or not play.keep_alive:
            self._transport.close()
        self._done()

    def _reset(self) -> None:
        """Closing with lingering switched on and a linger of 0 is what sends a RST."""
        sock = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _done(self) -> None:
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.ended_at = self._loop.time()
