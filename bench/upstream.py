"""The fake upstream: never what is measured. A raw protocol on uvloop, in a process of its own.

    python -m bench.upstream [--cert FILE --key FILE]      prints its base URL; with a certificate it speaks TLS

It answers POST /v1/messages with bytes that were made before (`answers` says which), keeps connections, stops writing
to a reader that stalls, and goes on where that one takes again.
"""

import argparse
import asyncio
import gc
import signal
import ssl
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvloop

from bench import answers

PLAIN_TOKENS = 16
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._body = b""
        self._url = b""
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._resume: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._resume = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    # httptools

    def on_message_begin(self) -> None:
        self._body = self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if not self._url.partition(b"?")[0].endswith(b"/v1/messages"):
            self._transport.write(NOT_FOUND)
            return
        try:
            asked = answers.asked(self._body)
        except ValueError:
            self._transport.write(BAD)
            return
        if not asked.stream:
            self._transport.write(answers.plain(PLAIN_TOKENS))
        elif not asked.gap_s and not asked.size:
            self._transport.write(answers.burst(asked.events, 0))
        else:
            self._transport.write(answers.opening())
            self._pace(asked, asked.events, self._loop.time())

    def _pace(self, asked: answers.Asked, left: int, due: float) -> None:
        """Send one event; the next is due on the grid that the first one began, not so long after this one."""
        while left and not self._paused and (asked.gap_s == 0 or due <= self._loop.time()):
            self._transport.write(answers.text(time.monotonic_ns(), asked.size))
            left, due = left - 1, due + asked.gap_s
        if not left:
            self._transport.write(answers.closing(asked.events))
        elif self._paused:
            self._resume = lambda: self._pace(asked, left, self._loop.time())
        else:
            self._timer = self._loop.call_at(due, self._pace, asked, left, due)


async def serve(context: ssl.SSLContext | None) -> None:
    """Listen on a free port until a signal."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Line, "127.0.0.1", 0, ssl=context, backlog=4096)
    scheme = "https" if context else "http"
    print(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="The fake upstream.")
    parser.add_argument("--cert", help="PEM file: speak TLS")
    parser.add_argument("--key", help="PEM file of its key")
    options = parser.parse_args()
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    gc.disable()  # Nothing here is a cycle, and a collection would be measured as lateness.
    uvloop.run(serve(context))


if __name__ == "__main__":
    main()
