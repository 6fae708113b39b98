"""The callers: a process of their own, on bare sockets, so that they cost as little as they can.

    python -m bench.callers      reads a job a line (`jobs`), answers each with a line of figures

A stream is an answer only when it is whole: status 200, so many events as were asked for, and its last one. Where each
event says when it was sent, its lateness is taken on the same clock, when its last byte is here.
"""

import asyncio
import gc
import itertools
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, cast

import httptools
import msgspec
import uvloop

from bench.answers import STAMP
from bench.jobs import Answered, Job, spread

TEXT: Final = b'"text_delta"'
END: Final = b"message_stop"
TAIL_BYTES: Final = 256
"""The last event, and what a gateway may set behind it."""
GRACE_S: Final = 30.0
"""For calls that are under way when a job's time is over; then their connections are cut."""


class Broken(Exception):
    """An answer that is none."""


class Samples:
    """What was seen, in nanoseconds."""

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.first: list[int] = []
        self.gap: list[int] = []
        self.late: list[int] = []
        self.events = 0
        self.errors: list[str] = []


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: Iterator[bytes], job: Job, samples: Samples) -> None:
        self._requests = requests
        self._job = job
        self._samples = samples
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    async def call(self) -> None:
        """One call, to its whole answer. Raises Broken or OSError."""
        self._done = asyncio.get_running_loop().create_future()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._first, self._last, self._events, self._tail, self._ended = 0, 0, 0, b"", False
        self._began = time.monotonic_ns()
        self.transport.write(next(self._requests))
        await self._done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        if self._job.stall:
            self.transport.pause_reading()
            status = self._parser.get_status_code()
            self._end(None if status == 200 else f"status {status}")

    def on_body(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._first = self._first or now
        if self._job.timed:
            self._take(data, now)
        elif self._job.events:
            # What is kept is shorter than a mark, so that none is counted twice.
            self._events += (self._tail[1 - len(TEXT) :] + data).count(TEXT)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._ended = END in self._tail

    def _take(self, data: bytes, now: int) -> None:
        whole, _, self._tail = (self._tail + data).rpartition(b"\n\n")
        for stamp in STAMP.finditer(whole):
            self._samples.late.append(now - int(stamp[1]))
            if self._last:
                self._samples.gap.append(now - self._last)
            self._last = now
            self._events += 1
        self._ended = self._ended or END in whole

    def on_message_complete(self) -> None:
        now = time.monotonic_ns()
        wrong = self._wrong()
        if wrong is None:
            self._samples.whole.append(now - self._began)
            self._samples.first.append((self._first or now) - self._began)
            self._samples.events += self._events
        if not self._parser.should_keep_alive():
            self.closed = True
        self._end(wrong)

    def _wrong(self) -> str | None:
        status = self._parser.get_status_code()
        if status != 200:
            return f"status {status}"
        if self._job.events and self._events != self._job.events:
            return f"{self._events} events and not {self._job.events}"
        if self._job.events and not self._ended:
            return "no last event"
        return None

    def _end(self, wrong: str | None) -> None:
        if self._done.done():
            return
        if wrong is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(Broken(wrong))

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._end("closed before its end")


def requests_of(job: Job) -> Iterator[bytes]:
    """The requests, as bytes, again and again."""
    keys = [{"x-api-key": key} for key in job.keys]
    return itertools.cycle([request_of(job, key) for key in keys or [job.headers]])


def request_of(job: Job, auth: dict[str, str]) -> bytes:
    """One of them."""
    body = job.body.encode()
    headers = {
        "host": job.url.partition("://")[2],
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        **auth,
        "content-length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/messages HTTP/1.1\r\n{head}\r\n".encode() + body


async def carry_out(job: Job, held: list[Caller]) -> Answered:
    """Run a job to its end; callers who stall are left in `held`."""
    samples, left, lines = Samples(), iter(range(job.count)), list[Caller]()
    connect = _connector(job, samples)
    began = time.monotonic()

    async def worker(number: int) -> None:
        await asyncio.sleep(job.ramp_s * number / job.concurrency)
        caller: Caller | None = None
        # Where each has one call to make, who is early does not take the one of another.
        for _ in left if job.count > job.concurrency else range(1):
            if time.monotonic() - began > job.seconds_max:
                break
            try:
                if caller is None or caller.closed:
                    caller = await connect()
                    lines.append(caller)
                await caller.call()
            except (Broken, OSError, httptools.HttpParserError) as error:
                samples.errors.append(str(error) or type(error).__name__)
        if caller is not None and not job.stall:
            caller.transport.close()

    def cut() -> None:
        for caller in lines:
            caller.transport.abort()

    timer = asyncio.get_running_loop().call_later(job.seconds_max + GRACE_S, cut)
    await asyncio.gather(*(worker(number) for number in range(job.concurrency)))
    timer.cancel()
    held += lines if job.stall else ()
    return _figures(samples, time.monotonic() - began)


def _connector(job: Job, samples: Samples) -> Callable[[], Awaitable[Caller]]:
    host, _, port = job.url.partition("://")[2].partition(":")
    context = ssl.create_default_context(cafile=job.ca_file) if job.ca_file else None
    requests, loop = requests_of(job), asyncio.get_running_loop()
    name = host if context else None

    async def connect() -> Caller:
        made = lambda: Caller(requests, job, samples)  # noqa: E731  # a factory, where it is used
        _, caller = await loop.create_connection(made, host, int(port), ssl=context, server_hostname=name)
        return caller

    return connect


def _figures(samples: Samples, elapsed_s: float) -> Answered:
    return Answered(
        calls=len(samples.whole) + len(samples.errors),
        errors=len(samples.errors),
        elapsed_s=elapsed_s,
        whole=spread(samples.whole, per_ms=1e6),
        first=spread(samples.first, per_ms=1e6),
        gap=spread(samples.gap, per_ms=1e6),
        late=spread(samples.late, per_ms=1e6),
        events=samples.events,
        first_error=samples.errors[0] if samples.errors else "",
    )


async def serve() -> None:
    """Carry out jobs until there are no more."""
    gc.disable()  # A collection in the midst of a job would be measured; there is one between two.
    held: list[Caller] = []
    decode, loop = msgspec.json.Decoder(Job).decode, asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        for caller in held:
            caller.transport.abort()
        held.clear()
        gc.collect()
        answered = await carry_out(decode(line), held)
        sys.stdout.buffer.write(msgspec.json.encode(answered) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(serve())
