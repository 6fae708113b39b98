"""A gateway with both of its doors open on loopback, and bytes said to it as strangers say them.

The gateway runs on a thread of its own, so that Hypothesis and schemathesis, which wait for no event loop, can ask it
over real sockets. What strangers may never do is written once, in `House.undisturbed`: ask upstream, or leave a row;
rows are read beside the gateway, on a connection of our own to whichever database it has.

    with opened(folder) as house:
        with house.undisturbed():
            answers = house.say(b"GET / HTTP/1.1\r\n...")
"""

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
import psutil  # type: ignore[import-untyped]  # it has none, and one figure is read of it
import pytest

from faregate import app
from faregate.edge.admin import admin_app
from faregate.edge.listen import listen
from faregate.settings import Secret
from faregate.stopping import Server
from faregate.store.database import Connection
from faregate.upstreams.script import Script
from tests.gateway import Gate, looking, running
from tests.store.raw import TABLES

ADMIN_TOKEN: Final = "adm-token-0123456789-abcdefghij"
LAST: Final = b"GET /healthz HTTP/1.1\r\nhost: last\r\nconnection: close\r\n\r\n"
"""A request after which the connection is closed: put behind others, it is answered if they were read to their end."""
PATIENCE_S: Final = 60
"""Met only by a gateway that hangs."""
ROWS: Final = ("charge", "hold", "transfer", "account")

ON_ONE_DATABASE: Final = pytest.mark.parametrize("module_folder", ["sqlite"], indirect=True)
"""For what is refused before the ledger is asked, so that either database says the same of it: nothing."""

T = TypeVar("T")


class House:
    """A running gateway, seen from another thread."""

    def __init__(self, gate: Gate, admin_url: str, ledger: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.gate = gate
        self.admin_url = admin_url
        self._ledger = ledger
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry out a coroutine where the gateway runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def key(self, wallet: str = "main", **limits: Any) -> str:
        return self.do(self.gate.key(wallet, **limits))

    def say(self, data: bytes, *, to: str | None = None, hang_up: bool = False) -> list[httpx2.Response]:
        """Write it all and read every answer until the gateway closes: because of what was said, or of LAST behind it.

        With `hang_up` the caller says instead that nothing follows, which to us is a caller who has left.
        """
        with self.line(to) as line:
            # Who is refused may be closed on while it still writes; what was answered is there to be read.
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                line.sendall(data)
                if hang_up:
                    line.shutdown(socket.SHUT_WR)
            return answers(heard(line))

    def status(self, data: bytes) -> int:
        """The status of one answer, with or without a body."""
        with self.line() as line:
            line.sendall(data)
            return int(line.recv(1 << 16).split(b" ", 2)[1])

    def line(self, to: str | None = None) -> socket.socket:
        """A connection to the gateway."""
        url = httpx2.URL(to or self.gate.base_url)
        return socket.create_connection((url.host, url.port), timeout=PATIENCE_S)

    def rows(self) -> dict[str, int]:
        """How many rows stand in each table of the ledger."""
        counts = ", ".join(f"(SELECT COUNT(*) FROM {table})" for table in ROWS)
        return dict(zip(ROWS, self._ledger.execute(f"SELECT {counts}").fetchone(), strict=True))

    def held(self) -> int:
        return int(self._ledger.execute("SELECT COALESCE(SUM(held), 0) FROM account").fetchone()[0])

    def kept(self) -> bytes:
        """Every value of every row that the ledger has."""
        rows = [row for table in TABLES for row in self._ledger.execute(f"SELECT * FROM {table}")]
        return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)

    @property
    def asked(self) -> int:
        """How often upstream was asked in its life, for calls and for counts."""
        log = self.gate.upstream.log
        return log[-1].index + 1 if log else 0

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Meanwhile no upstream is asked, and the ledger gets no row and no hold."""
        rows, asked = self.rows(), self.asked
        yield
        assert self.asked == asked, "upstream was asked"
        assert self.rows() == rows, "the ledger has another row"
        assert self.held() == 0


def heard(line: socket.socket) -> bytes:
    """Everything until the other side closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := line.recv(1 << 16):
            pieces.append(piece)
            if b"\r\nconnection: close\r\n" in piece:
                # Who has read that it is over need not be waited for: without this the gateway lingers for a second.
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_WR)
    return b"".join(pieces)


def answers(data: bytes) -> list[httpx2.Response]:
    """Cut what was heard into answers. A length that does not fit, or a rest, is a broken answer and fails here."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"a broken head: {head[:200]!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        if status == "100":
            continue
        headers = httpx2.Headers([(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
        if headers.get("transfer-encoding") == "chunked":
            body, data = unchunked(data)
        else:
            size = int(headers["content-length"])
            body, data = data[:size], data[size:]
            assert len(body) in (0, size), "an answer of the wrong length"
        found.append(httpx2.Response(int(status), headers=headers, content=body))
    return found


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    """The body of a chunked answer, and what stands behind it."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
        if length == 0:
            return body, data


def clean(answer: httpx2.Response, *, statuses: range = range(400, 500)) -> dict[str, Any]:
    """Check that this is a refusal in Anthropic's envelope; give its error."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:300]}"
    body = json.loads(answer.content)
    assert (body["type"], set(body)) == ("error", {"type", "error", "request_id"})
    assert answer.headers["request-id"] == body["request_id"]
    assert body["error"]["type"] and body["error"]["message"] and body["error"]["details"]["error_code"]
    error: dict[str, Any] = body["error"]
    return error


def resident() -> int:
    """Bytes of memory that this process, gateway and all, has now."""
    return int(psutil.Process(os.getpid()).memory_info().rss)


@contextlib.contextmanager
def opened(
    folder: Path, *, script: Script | None = None, toml: str = "", environ: dict[str, str] | None = None
) -> Iterator[House]:
    """Open a house on a thread; close it again, whatever happened."""
    loop = asyncio.new_event_loop()

    async def live(told: "threading.Event", found: list[tuple[Gate, str]], leave: asyncio.Event) -> None:
        async with running(folder, script=script, toml=toml, environ=environ) as gate, doors(gate) as admin_url:
            found.append((gate, admin_url))
            told.set()
            await leave.wait()

    told, found, failed, leave = threading.Event(), list[tuple[Gate, str]](), list[BaseException](), asyncio.Event()

    def run() -> None:
        try:
            loop.run_until_complete(live(told, found, leave))
        except BaseException as error:
            failed.append(error)
        finally:
            loop.close()
            told.set()

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    told.wait(PATIENCE_S)
    try:
        for gate, admin_url in found:
            with looking(folder) as ledger:
                yield House(gate, admin_url, ledger, loop)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(leave.set)
        thread.join(PATIENCE_S)
        for error in failed:
            raise error


@contextlib.asynccontextmanager
async def doors(gate: Gate) -> AsyncIterator[str]:
    """The admin door beside the public one, as `faregate serve` opens it."""
    with listen("127.0.0.1", 0, setting="admin") as listener:
        server = Server(admin_app(gate.running.desk, token=Secret(ADMIN_TOKEN)), listener, drain_s=60)
        serving = asyncio.create_task(server.serve())
        try:
            yield app.base_url(listener)
        finally:
            server.should_exit = True
            await serving
