"""A line between a store and its PostgreSQL server that can be cut at the worst moments, on real sockets.

line.url         the database, through the line
line.cut         BEFORE or AFTER: cut the line once, when a COMMIT is on its way there, or its answer on its way back
line.stays_down  ... and let nobody through from then on
line.down()      cut what is connected, and let nobody through
line.up()        let them through again
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

BEFORE: Final = "before"
AFTER: Final = "after"
_COMMIT: Final = b"COMMIT\0"
"""What both the question and its answer have in them, as long as the server has not prepared the question."""


class Line:
    def __init__(self, url: str) -> None:
        facts = conninfo_to_dict(url)
        self._host, self._port = str(facts.get("host") or "localhost"), int(facts.get("port") or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._open = True
        self._threads: list[threading.Thread] = []
        self._flows = threading.Event()
        self._flows.set()
        self.cut: str | None = None
        self.cuts = 0
        self.stays_down = False
        self.url = make_conninfo(
            url, host="127.0.0.1", port=self._listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        self._start(self._accept)

    def down(self) -> None:
        with self._lock:
            self._open = False
        self.sever()

    def up(self) -> None:
        with self._lock:
            self._open = True

    def stall(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def sever(self) -> None:
        """Cut what is connected. Whoever connects anew gets through, and its statements are not prepared yet."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def close(self) -> None:
        # A listener that is only closed would leave `accept` waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.sever()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                far = self._connect() if self._open else None
                if far is not None:
                    self._pairs.add((near, far))
            if far is None:
                near.close()
                continue
            pair = (near, far)
            self._start(self._carry, near, far, pair, BEFORE)
            self._start(self._carry, far, near, pair, AFTER)

    def _connect(self) -> socket.socket | None:
        try:
            if not self._host.startswith("/"):
                return socket.create_connection((self._host, self._port))
            far = socket.socket(socket.AF_UNIX)
            far.connect(f"{self._host}/.s.PGSQL.{self._port}")
        except OSError:
            return None
        return far

    def _carry(self, source: socket.socket, sink: socket.socket, pair: tuple[socket.socket, socket.socket],
               place: str) -> None:  # fmt: skip
        with contextlib.suppress(OSError):
            while said := source.recv(65_536):
                self._flows.wait()
                if _COMMIT in said and self._cuts_here(place):
                    break
                sink.sendall(said)
        self._end(pair)

    def _cuts_here(self, place: str) -> bool:
        with self._lock:
            if self.cut != place:
                return False
            self.cut = None
            self.cuts += 1
            self._open = not self.stays_down
            return True

    def _end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.discard(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _start(self, target: "object", *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


@contextlib.contextmanager
def line_to(url: str) -> Iterator[Line]:
    line = Line(url)
    try:
        with psycopg.connect(line.url) as there:
            there.execute("SELECT 1")
        yield line
    finally:
        line.close()
