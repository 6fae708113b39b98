"""A running gateway forgets the answers whose time is over, all of them, and survives a database that is away.

Method: answers written by the ledger, a clock that is set by hand, and a file that somebody else has locked.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from faregate import forgetting
from faregate.core.ledger import Answer
from faregate.store import answers, sqlite
from faregate.store.store import Store
from tests.store.books import NOW, WALLET, fund, message, opening, reserve, settle


class Log:
    def __init__(self) -> None:
        self.told: list[str] = []

    def error(self, what: str, **_: Any) -> None:
        self.told.append(what)


class Clock:
    now_ms = NOW


@asynccontextmanager
async def forgetful(store: Store, clock: Clock, log: Log) -> AsyncIterator[None]:
    running = asyncio.create_task(forgetting.forget_answers(store.records, now_ms=lambda: clock.now_ms, log=log))
    try:
        yield
    finally:
        assert not running.done(), "it goes on until it is cancelled"
        running.cancel()
        await asyncio.wait([running])


async def keep(store: Store, count: int) -> None:
    for number in range(1, count + 1):
        await store.ledger.reserve(reserve(number, idempotency_key=f"key {number}"))
        await store.ledger.settle(
            settle(number, answer=Answer(headers=[], body=b"words", kept_until_ms=NOW + 1_000 * number))
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the file is all that tells
            await asyncio.sleep(0.01)


def rows(folder: Path) -> int:
    connection = sqlite.reader(folder / "faregate.db")
    count = int(connection.execute("SELECT COUNT(*) FROM answer").fetchone()[0])
    connection.close()
    return count


async def test_what_is_over_goes_in_as_many_steps_as_it_takes_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "STEP", 2)
    clock, log = Clock(), Log()
    async with opening(tmp_path) as store:
        await fund(store, 100_000_000)
        await keep(store, 8)
        clock.now_ms = NOW + 7_000
        async with forgetful(store, clock, log):  # The first look alone: the next is a minute away.
            await until(lambda: rows(tmp_path) == 1)
        assert await store.records.answer(WALLET, message(8), clock.now_ms) is not None
    assert log.told == []


async def test_it_looks_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "FORGET_S", 0.01)
    clock = Clock()
    async with opening(tmp_path) as store:
        await fund(store, 100_000_000)
        await keep(store, 3)
        async with forgetful(store, clock, Log()):
            for left in (2, 1, 0):
                clock.now_ms += 1_000
                await until(lambda left=left: rows(tmp_path) == left)  # type: ignore[misc]


async def test_a_database_that_is_away_is_asked_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "FORGET_S", 0.01)
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 20)
    clock, log = Clock(), Log()
    async with opening(tmp_path) as store:
        await fund(store, 100_000_000)
        await keep(store, 1)
        blocker = sqlite3.connect(tmp_path / "faregate.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        clock.now_ms += 1_000
        async with forgetful(store, clock, log):
            await asyncio.sleep(0.2)
            assert rows(tmp_path) == 1
            blocker.execute("ROLLBACK")
            blocker.close()
            await until(lambda: rows(tmp_path) == 0)
    assert log.told == []
