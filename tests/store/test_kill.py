"""A process that is killed under load: what it had acknowledged stands, the rest returns, and the books are right.

Method: a child process settles and releases as fast as it can and prints the number of each call once it has been told
that it is durable. It is killed with SIGKILL after so many lines, wherever it is; then the file is opened again.
"""

import asyncio
import sys
from pathlib import Path

import pytest

from faregate.core.ledger import State
from faregate.store.store import Store
from tests.store.books import WALLET, fund, funds, message, opening

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.store.books import opening, release, reserve, settle

async def worker(store, number):
    while True:
        await store.ledger.reserve(reserve(number))
        await (store.ledger.release(release(number)) if number % 4 == 0 else store.ledger.settle(settle(number)))
        print(number, flush=True)
        number += 100

async def main():
    async with opening(Path(sys.argv[1])) as store:
        await asyncio.gather(*(worker(store, int(sys.argv[2]) + number) for number in range(24)))

asyncio.run(main())
"""

ROOT = Path(__file__).parents[2]
LIFE = 10_000_000
"""Numbers that each life of the child may use."""


async def killed_after(lines: int, folder: Path, first: int) -> list[int]:
    """The numbers of the calls that the child acknowledged before it was killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(folder), str(first), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    told = [await child.stdout.readline() for _ in range(lines)]
    child.kill()
    rest, _ = await child.communicate()
    told += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    return [int(line) for line in told]


async def seen(store: Store, number: int) -> State:
    receipt = await store.records.receipt(WALLET, message(number))
    assert receipt is not None
    return receipt.state


@pytest.mark.parametrize("lines", [1, 40, 300])
async def test_what_was_acknowledged_stands_and_the_rest_returns(folder: Path, lines: int) -> None:
    async with opening(folder) as store:
        await fund(store, 10**12)
    for life in range(2):
        acknowledged = await killed_after(lines, folder, life * LIFE)
        async with opening(folder) as store:
            for number in acknowledged:
                expected = State.RELEASED if number % 4 == 0 else State.SETTLED
                assert await seen(store, number) is expected
            revenue = (await store.office.operator_accounts())["revenue"]
            loss = -(await store.office.operator_accounts())["crash_loss"]
            posted, held = await funds(store)
            assert held == 0
            assert 10**12 - posted == revenue - loss
            assert (revenue - loss) % 150_000 == 0
