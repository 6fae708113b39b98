"""A watcher over an owner that is gone: its clock is handed in, and the database's own is moved by hand.

watching(database)     two calls were open when their owner went, and a node watches
busy(store, what)      all of a store's readers, or its writer, have something long to do
renewed(raw, node)     somebody has renewed a node's lease since
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from faregate.core.ledger import State
from faregate.store import nodes
from faregate.store.database import Connection
from faregate.store.lease import RENEW_S, Lease, Renewer
from faregate.store.postgres import READERS_MAX, Readers
from faregate.store.store import Store
from faregate.store.sweep import Swept
from tests.postgres import URL
from tests.store.books import NOW, WALLET, fund, message, opening, place, reserve
from tests.store.raw import PostgresRaw, raw_on

DEAD = "UPDATE node SET seen_at = 0 WHERE name = 'owner'"
STEADY = (0, RENEW_S, 2 * RENEW_S)
FIRST_SWEEP = 3 * RENEW_S


class Watch:
    """A node that watches, on a store that renews nothing by itself."""

    def __init__(self, store: Store, raw: PostgresRaw, url: str) -> None:
        self.store = store
        self.raw = raw
        self.url = url
        self.now = 0
        self.look_s = 0
        self.told: list[Swept] = []
        self._leases: list[Lease] = []
        nodes.begin(raw.connection, "watcher", 0)
        self.lease = self.lease_of("watcher")

    def lease_of(self, node: str, incarnation: int = 1, *, url: str | None = None) -> Lease:
        lease = Lease(
            Renewer(url or self.url),
            Looks(self),
            self.store.ledger._writer,
            node=node,
            incarnation=incarnation,
            now_ms=lambda: NOW + 99,
            swept=self.told.append,
            clock=lambda: self.now,
        )
        self._leases.append(lease)
        return lease

    async def steps(self, *times: int) -> None:
        for self.now in times:
            await self.lease.renew()
            await self.lease.sweep()

    async def close(self) -> None:
        for lease in self._leases:
            await lease.close()

    async def states(self, *numbers: int) -> list[State]:
        found = [await self.store.records.receipt(WALLET, message(number)) for number in numbers]
        return [receipt.state for receipt in found if receipt is not None]


class Looks(Readers):
    """Readers for whom a look lasts as long as the watch says, on the watcher's own clock."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(watch.url, connections=1)
        self._watch = watch

    async def scan(self, read: Callable[[Any], Any]) -> Any:
        found = await super().scan(read)
        self._watch.now += self._watch.look_s
        return found


@asynccontextmanager
async def watching(database: Path) -> AsyncIterator[Watch]:
    """Two calls were open when their owner went."""
    async with opening(database, node="owner") as owner:
        await fund(owner, 10_000_000)
        for number in (1, 2):
            await owner.ledger.reserve(reserve(number))
        owner.ledger.streaming(message(2), WALLET, NOW)
    raw = raw_on(place(database))
    assert isinstance(raw, PostgresRaw)
    async with opening(database, serves=False) as store:
        watch = Watch(store, raw, (database / URL).read_text())
        try:
            yield watch
        finally:
            await watch.close()
    raw.close()


@asynccontextmanager
async def busy(store: Store, what: str) -> AsyncIterator[None]:
    """While all of a store's readers, or its writer, have something long to do."""
    done, at_it = threading.Event(), threading.Semaphore(0)

    def wait(_: Connection, __: object = None) -> bool:
        at_it.release()
        return done.wait(60)

    readers, writer = store.office._readers, store.ledger._writer
    if what == "writer":
        works: list[Any] = [writer.submit(wait, None)]
    else:
        works = [asyncio.create_task(readers.scan(wait)) for _ in range(READERS_MAX)]
    try:
        for _ in works:
            assert await asyncio.to_thread(at_it.acquire, timeout=30)
        yield
    finally:
        done.set()
        assert all(await asyncio.gather(*works))


async def renewed(raw: PostgresRaw, node: str) -> None:
    """Wait for a renewal from now on."""
    raw.do(f"UPDATE node SET seen_at = 0 WHERE name = '{node}'")
    async with asyncio.timeout(30):
        while raw.one(f"SELECT seen_at FROM node WHERE name = '{node}'") == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
