"""The store, opened: the ports of port.py on an SQLite file that this process owns, or on a PostgreSQL database that
it shares with other replicas.

    async with Store.open(place, pepper=..., prices=...) as store:
        store.ledger  store.keys  store.prices  store.records  store.batches  store.natives  store.office

Opening takes the lock (the file's; the node's name), brings the schema up to date, checks the pepper, appends the
shipped prices, begins a new incarnation, carries out what the spool holds and gives back what this node's dead had
held, in this order; whatever is wrong raises StoreRefused with one sentence and changes nothing. Closing finishes what
is queued.
`Store.open_to_read` changes nothing, so it works beside the process that owns the file.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from faregate.core.errors import NotReady
from faregate.core.money import Nanos
from faregate.core.place import Place, Postgres
from faregate.core.pricing import PriceVersion
from faregate.store import keys, on_postgres, on_sqlite, prices, sweep
from faregate.store.batches import Batches
from faregate.store.charges import Charges, Watch
from faregate.store.committer import Committer, Hand, Nobody, Observe, Writer
from faregate.store.database import Readers, WalletLocked
from faregate.store.natives import Natives
from faregate.store.office import Office
from faregate.store.opened import Opened
from faregate.store.records import Records
from faregate.store.spool import Spool
from faregate.store.sweep import Swept

NODE: Final = "main"
"""One process owns an SQLite file, so there is one node."""

NOTHING: Final = Swept(0, Nanos(0))


def wall_clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def unheard(swept: Swept) -> None:
    """Nobody asked to be told."""


class Store:
    """The seven ports, over one writer and its readers."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        *,
        pepper: bytes | None,
        versions: list[PriceVersion],
        clock: Callable[[], int],
        node: str = NODE,
        incarnation: int = 0,
        spool: Spool | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.keys = keys.Keys(writer, readers, pepper)
        self.prices = prices.Prices(writer, readers, versions)
        self.ledger = Charges(writer, self.keys, node=node, incarnation=incarnation, spool=spool, watch=watch)
        self.records = Records(writer, readers, node=node)
        self.batches = Batches(writer, readers, self.keys, node=node, incarnation=incarnation)
        self.natives = Natives(writer, readers, self.keys, node=node, incarnation=incarnation)
        self.office = Office(writer, readers, self.keys, self.prices, clock)
        self.clock = clock
        self.incarnation = incarnation
        """How often this node has begun; 0 where it takes no calls."""
        self.swept = NOTHING
        """What was found open of processes that died, at the start."""

    async def recover(self, writer: Writer, opened: Opened) -> None:
        """Carry out what an earlier life left in the spool, then give back what it had held. Raises StoreRefused.

        What the database has something against stays held until it is carried out. One locked wallet keeps nobody from
        starting: what it holds is given back by the lease's sweep.
        """
        try:
            await self.ledger.recover()
            self.swept = await sweep.at_start(
                writer,
                opened.readers,
                node=opened.node,
                incarnation=opened.incarnation,
                at_ms=self.clock(),
                spared=self.ledger.spooled,
            )
        except NotReady as error:
            if not isinstance(error.__cause__, WalletLocked):
                raise opened.refused(error.__cause__ or error) from error

    @staticmethod
    @asynccontextmanager
    async def open(
        place: Place,
        *,
        pepper: bytes | None,
        prices: Sequence[PriceVersion] = (),
        clock: Callable[[], int] = wall_clock,
        observe: Observe | None = None,
        swept: Callable[[Swept], None] = unheard,
        node: str = NODE,
        serves: bool = True,
        spool: Path | None = None,
        watch: Watch | None = None,
        hand: Hand | None = None,
    ) -> AsyncIterator["Store"]:
        """Open a database for writing, making it when it is not there. Raises StoreRefused.

        `observe` is told on the event loop of each batch: its size, and how long its first command waited. `swept` is
        told of what other nodes that died had held. `node` is this replica's name on PostgreSQL; one that `serves`
        takes calls under it. `pepper` may be None on PostgreSQL only, where the database then keeps one.
        """
        opening = (
            on_postgres.opened(place, pepper=pepper, shipped=prices, now_ms=clock(), node=node, serves=serves)
            if isinstance(place, Postgres)
            else on_sqlite.opened(place, pepper=pepper, shipped=prices, now_ms=clock(), node=NODE)
        )
        async with opening as opened:
            committer = Committer(opened.driver, observe, hand)
            store = Store(
                committer,
                opened.readers,
                pepper=opened.pepper,
                versions=opened.versions,
                clock=clock,
                node=opened.node,
                incarnation=opened.incarnation,
                spool=Spool(spool) if spool is not None and serves else None,
                watch=watch,
            )
            try:
                if serves:
                    await store.recover(committer, opened)
                async with opened.beside(store, committer, swept):
                    yield store
            finally:
                await store.ledger.close()
                await opened.readers.close()  # Before the writer, which as the last one carries the log into the file.
                await committer.close()

    @staticmethod
    @asynccontextmanager
    async def open_to_read(place: Place, *, clock: Callable[[], int] = wall_clock) -> AsyncIterator["Store"]:
        """Read a database, whoever owns it. What writes raises NotReady; no caller's key can be looked up."""
        reading = on_postgres.to_read(place) if isinstance(place, Postgres) else on_sqlite.to_read(place)
        async with reading as (readers, versions):
            yield Store(Nobody(), readers, pepper=None, versions=versions, clock=clock)
