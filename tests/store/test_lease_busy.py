"""The lease of a node that has much to do: it is renewed, and the dead are found, whatever else waits.

Method: readers and writers that wait for an event, which the test sets at its end; sweeps that the database refuses.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from faregate.core.errors import NotReady
from faregate.core.ledger import State
from faregate.store import lease as leases
from faregate.store import postgres
from tests.store.books import fund, opening, place
from tests.store.raw import PostgresRaw, raw_on
from tests.store.watch import DEAD, Watch, busy, renewed, watching


@pytest.fixture
async def watch(database: Path) -> AsyncIterator[Watch]:
    async with watching(database) as watch:
        yield watch


@asynccontextmanager
async def going_on(*loops: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_renewal_that_hangs_is_given_up_in_time(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    monkeypatch.setattr(postgres, "LOCK_MS", 60_000)
    with psycopg.connect(watch.url) as other:
        other.execute("UPDATE node SET seen_at = 0 WHERE name = 'watcher'")
        with pytest.raises(NotReady) as refusal:
            await watch.lease.renew()

    assert isinstance(refusal.value.__cause__, TimeoutError)
    await watch.lease.renew()


@pytest.mark.parametrize("what", ["readers", "writer"])
async def test_a_node_that_is_busy_renews_all_the_same(
    database: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SETTLED_IN_S", 0)
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    async with opening(database, node="owner") as owner:
        await fund(owner, 0)
        raw = raw_on(place(database))
        assert isinstance(raw, PostgresRaw)
        async with busy(owner, what):
            for _ in range(3):
                await renewed(raw, "owner")
        raw.close()


async def test_a_node_whose_readers_are_busy_finds_the_dead_all_the_same(
    watch: Watch, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SETTLED_IN_S", 0), ("GRACE_S", 0), ("RENEW_S", 0.2)):
        monkeypatch.setattr(leases, name, value)
    told = asyncio.Event()
    async with opening(database, node="other", swept=lambda swept: told.set()) as other, busy(other, "readers"):
        watch.raw.do(DEAD)
        async with asyncio.timeout(30):
            await told.wait()

    assert await watch.states(1, 2) == [State.RELEASED] * 2


async def test_a_node_whose_sweep_is_refused_goes_on(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "SETTLED_IN_S", 0)
    monkeypatch.setattr(leases, "RENEW_S", 0.01)
    watch.raw.do(
        DEAD,
        "CREATE TRIGGER stuck BEFORE UPDATE OF state ON charge FOR EACH ROW EXECUTE FUNCTION refuse('not today')",
    )
    async with going_on(watch.lease.keep(), watch.lease.watch()):
        for _ in range(3):
            await renewed(watch.raw, "watcher")
        async with asyncio.timeout(30):
            while not watch.lease._orphaned:  # noqa: ASYNC110 - what it saw is all that tells
                await asyncio.sleep(0.01)
        await renewed(watch.raw, "watcher")

    assert await watch.states(1, 2) == [State.RESERVED, State.STREAMING]
