"""A committer on a file whose first COMMIT can be held where it stands, and commands that go wrong in each way."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from faregate.core.errors import NotFound
from faregate.store import sqlite
from faregate.store.committer import Committer
from faregate.store.database import Connection
from faregate.store.sqlite_writer import SqliteWriter

TABLES = """
CREATE TABLE parent(id INTEGER PRIMARY KEY) STRICT;
CREATE TABLE line(id INTEGER PRIMARY KEY, text TEXT NOT NULL CHECK(text <> 'bad'),
  parent INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED) STRICT;
"""


class Desk:
    """A committer on a file, and a second connection that sees what is durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        connection = sqlite.writer(path)
        connection.executescript(TABLES)
        connection.set_trace_callback(self._statement)
        self.batches: list[int] = []
        self.committer = Committer(SqliteWriter(connection), lambda size, wait_s: self.batches.append(size))
        self.taken, self.opened, self.held = threading.Event(), threading.Event(), False

    def lines(self) -> list[str]:
        reader = sqlite.reader(self.path)
        found = [text for (text,) in reader.execute("SELECT text FROM line ORDER BY id")]
        reader.close()
        return found

    def write(self, text: str) -> "asyncio.Future[int]":
        return self.committer.submit(write, text)

    async def hold(self) -> "asyncio.Future[None]":
        """Keep the writer at its COMMIT until `opened`, so that what is queued from now on is one batch."""
        self.held = True
        future = self.committer.submit(lambda connection, _: None, None)
        assert await asyncio.to_thread(self.taken.wait, 30)
        return future

    def _statement(self, text: str) -> None:
        if self.held and text == "COMMIT":
            self.taken.set()
            assert self.opened.wait(30)

    async def until(self, lines: list[str]) -> None:
        async with asyncio.timeout(30):
            while self.lines() != lines:  # noqa: ASYNC110 - the file is all that tells
                await asyncio.sleep(0.01)


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    opened = Desk(folder / "lines.db")
    try:
        yield opened
    finally:
        opened.opened.set()
        await opened.committer.close()


def write(connection: Connection, text: str) -> int:
    return connection.execute("INSERT INTO line(text) VALUES (?)", (text,)).rowcount


def orphan(connection: Connection, text: str) -> None:
    connection.execute("INSERT INTO line(text, parent) VALUES (?, 99)", (text,))


def refuse(connection: Connection, text: str) -> None:
    raise NotFound(text)


def refuse_late(connection: Connection, text: str) -> None:
    write(connection, text)
    raise NotFound(text)


def stumble(connection: Connection, text: str) -> None:
    write(connection, text)
    raise ZeroDivisionError(text)
