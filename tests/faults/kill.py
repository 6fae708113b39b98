"""kill -9 under load: `python -m tests.faults.kill --kills 200 --db sqlite --seed 1`.

A house after the other, each on an empty database: 24 callers stream and post while its gateway is killed, at random or
at a named point, and started again on the same home. When all is at rest, every note of every caller is held against
its receipt, the wallet, `faregate audit` and the checker. On PostgreSQL there are two replicas, killed in turn; in
every second house they come back under another name, so that what they held is the sweeper's to return.
"""

import asyncio
import collections
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.house import House, fresh, house
from tests.faults.launch import POINTS
from tests.faults.options import Tally, carry_out, parser, positive, tell, with_database
from tests.faults.replica import Replica

CALLERS = 24
KILLS_PER_HOUSE = 25
LIFE_S_MAX = 1.5
POINT_S_MAX = 4.0
"""How long a life may take to come to its point, before it is killed where it is."""


async def kills(count: int, *, db: str, seed: int, tally: Tally, callers: int = CALLERS) -> None:
    """Kill so many times, and judge each house."""
    for number in range(-(-count // KILLS_PER_HOUSE)):
        share = min(KILLS_PER_HOUSE, count - number * KILLS_PER_HOUSE)
        seeded, replicas = seed * 1_000 + number, 1 if db == "sqlite" else 2
        named = number % 2 == 0
        with tempfile.TemporaryDirectory(prefix="faregate-kill-") as folder:
            async with house(Path(folder), await fresh(db), replicas=replicas, seed=seeded, named=named) as here:
                await _live_and_die(here, share, db, tally, callers)
                tally.add(await here.judge_callers())
        tell(tally.line())


async def _live_and_die(here: House, share: int, db: str, tally: Tally, callers: int) -> None:
    """So many violent ends, and one life after them that is let be."""
    ends = collections.Counter[str]()
    left = share
    for replica in here.replicas:
        if left and here.chance.random() < 0.5:
            passage = here.chance.randint(1, 40 if db == "sqlite" else 2)
            if await replica.start(("migration", passage)):
                await replica.kill()
            ends["migration"] += 1
            left -= 1
        await replica.start()
    await here.open()
    here.call(callers)
    for _ in range(left):
        replica = here.chance.choice(here.replicas)
        ends[await _one_life(here, replica)] += 1
    for replica in here.replicas:
        if replica.url is None:
            await replica.start()
    tally.done += share
    for end, times in ends.items():
        tally.details[end] = tally.details.get(end, 0) + times


async def _one_life(here: House, replica: Replica) -> str:
    """Kill a replica that serves where it is, or one that is started for it at a named point; then start it again."""
    chance = here.chance
    if chance.random() < 0.5:
        await asyncio.sleep(chance.random() * LIFE_S_MAX)
        await replica.kill()
        end = "at random"
    else:
        end = chance.choice([name for name in POINTS if name != "migration"])
        # Whoever is killed after a while leaves holds behind, which is what a boot sweep needs.
        await asyncio.sleep(0.1 + chance.random() * 0.3)
        await replica.kill()
        passage = chance.randint(1, 1 if end == "boot sweep" else 120)
        if await replica.start((end, passage)) and not await replica.ended(POINT_S_MAX):
            end = f"near {end}"
        await replica.kill()
    await replica.start()
    return end


def main(arguments: Sequence[str] | None = None) -> int:
    options = with_database(parser("kill", "Kill the gateway under load, and prove the books."))
    options.add_argument("--kills", type=positive, default=200, help="how many (default: 200)")
    asked = options.parse_args(arguments)
    tally = Tally("kill", asked.seed)
    return carry_out(kills(asked.kills, db=asked.db, seed=asked.seed, tally=tally), tally)


if __name__ == "__main__":
    sys.exit(main())
