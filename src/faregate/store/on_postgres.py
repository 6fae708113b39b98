"""A PostgreSQL database, opened: migrated, its pepper known, this node's name taken, in a new incarnation.

the name       an advisory lock of the listening connection: two live processes never share one
the pepper     the operator's own, of which the database keeps a fingerprint; or one that the database keeps
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg

from faregate.core.place import Postgres
from faregate.core.pricing import PriceVersion
from faregate.store import keys, nodes, postgres, prices, schema_postgres
from faregate.store.committer import Committer
from faregate.store.database import StoreRefused
from faregate.store.lease import LOOK_MS, Lease, Renewer
from faregate.store.listener import Listener
from faregate.store.opened import Beside, Opened
from faregate.store.postgres import Readers
from faregate.store.postgres_writer import PostgresWriter
from faregate.store.sweep import Swept

if TYPE_CHECKING:
    from faregate.store.store import Store


@asynccontextmanager
async def opened(
    place: Postgres, *, pepper: bytes | None, shipped: Sequence[PriceVersion], now_ms: int, node: str, serves: bool
) -> AsyncIterator[Opened]:
    """Open the database beside whoever else uses it; whoever gets it closes driver and readers. Raises StoreRefused."""
    listener = Listener(place, node=node if serves else None)
    try:
        await listener.connect()
        await listener.take_name()
        found = await asyncio.to_thread(_open, place, pepper, shipped, now_ms, node if serves else None)
    except psycopg.Error as error:
        await listener.close()
        raise refused(place, error) from error
    except StoreRefused:
        await listener.close()
        raise
    found.beside = _beside(place, found, listener)
    try:
        yield found
    finally:
        await listener.close()


@asynccontextmanager
async def to_read(place: Postgres) -> AsyncIterator[tuple[Readers, list[PriceVersion]]]:
    """Read the database. Raises StoreRefused."""
    try:
        readers, versions = await asyncio.to_thread(_open_to_read, place)
    except psycopg.Error as error:
        raise refused(place, error) from error
    try:
        yield readers, versions
    finally:
        await readers.close()


def _open(
    place: Postgres, pepper: bytes | None, shipped: Sequence[PriceVersion], now_ms: int, node: str | None
) -> Opened:
    connection = postgres.connect(place.url)
    try:
        schema_postgres.migrate(connection, place)
        with connection.raw.transaction():
            schema_postgres.one_at_a_time(connection)
            pepper = keys.kept_pepper(connection, pepper)
            prices.ship(connection, shipped)
            incarnation = nodes.begin(connection, node, now_ms) if node is not None else 0
            versions = prices.read(connection)
    finally:
        connection.close()
    readers = Readers(place.url)
    return Opened(
        driver=PostgresWriter(lambda: postgres.connect(place.url)),
        readers=readers,
        versions=versions,
        pepper=pepper,
        node=node or "",
        incarnation=incarnation,
        refused=lambda error: refused(place, error),
    )


def _open_to_read(place: Postgres) -> tuple[Readers, list[PriceVersion]]:
    connection = postgres.connect(place.url)
    try:
        if schema_postgres.check_version(connection, place) == 0:
            raise StoreRefused(f"The database {place} is empty. `faregate migrate` or the first start fills it.")
        versions = prices.read(connection)
    finally:
        connection.close()
    readers = Readers(place.url)
    return readers, versions


def _beside(place: Postgres, found: Opened, listener: Listener) -> Beside:
    @asynccontextmanager
    async def beside(store: "Store", committer: Committer, swept: Callable[[Swept], None]) -> AsyncIterator[None]:
        async def heard(what: str) -> None:
            kind, _, id_ = what.partition(":")
            if kind in ("", "price"):
                await store.prices.read_anew()
            if kind in ("", "key"):
                store.keys.forget(id_ or None)

        def trust(trusted: bool) -> None:  # noqa: FBT001 - a listener says one word
            store.prices.trust(trusted)
            store.keys.trust(trusted)

        tasks, lease = [asyncio.create_task(listener.listen(heard, trust))], None
        if found.incarnation:
            lease = Lease(
                Renewer(place.url),
                Readers(place.url, name="faregate sweep", connections=1, statement_ms=LOOK_MS),
                committer,
                node=found.node,
                incarnation=found.incarnation,
                now_ms=store.clock,
                swept=swept,
            )
            store.ledger.leased(lease)
            store.records.leased(lease)
            store.batches.leased(lease)
            store.natives.leased(lease)
            tasks += [asyncio.create_task(lease.keep()), asyncio.create_task(lease.watch())]
        try:
            yield
        finally:
            # What is still to be written is written under our name: who has neither it nor a lease is dead.
            await store.ledger.close()
            await committer.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            if lease is not None:
                await lease.close()

    return beside


def refused(place: Postgres, error: BaseException) -> StoreRefused:
    """What a failure to open a database means to who runs this."""
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StoreRefused(
            f"The role that {place} names may not do this: {cause}. Run `faregate migrate` as the owner of the tables, "
            "with --grant for this role."
        )
    return StoreRefused(
        f"The database {place} cannot be opened: {cause}. See that the server runs, that the URL is right and that the "
        "role may log in."
    )


def synchronous_commit(place: Postgres) -> str:
    """What the database or the role sets for whoever sets nothing else. Raises StoreRefused."""
    try:
        connection = postgres.connect(place.url, reads=True)
        try:
            return str(connection.execute("SELECT current_setting('synchronous_commit')").fetchone()[0])
        finally:
            connection.close()
    except psycopg.Error as error:
        raise refused(place, error) from error


def grant_serving(place: Postgres, role: str) -> None:
    """Give a role what serving needs, and no more. Raises StoreRefused."""
    try:
        connection = postgres.connect(place.url)
        try:
            schema_postgres.grant(connection, role)
        finally:
            connection.close()
    except psycopg.Error as error:
        raise refused(place, error) from error
