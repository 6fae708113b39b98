"""A gateway that is killed while it runs a batch, again and again: the batch ends, and each request is billed once.

Method: `faregate serve` as a process of its own, killed with SIGKILL after so many calls upstream, wherever it then is.
What upstream was asked more than once for is the operator's loss, and it is booked as one.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from faregate.upstreams.scripted_server import ScriptedServer
from tests.contract.batches import COST, OPENING, good, left, made, over
from tests.contract.riders import until
from tests.gateway import UPSTREAM_KEY, _database, running

ROOT = Path(__file__).parents[2]
COUNT = 60
KILLS = (3, 17, 9)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[ScriptedServer]:
    """A gateway on the ledger of `folder`, as a process that is killed in the end; its upstream is given."""
    upstream = ScriptedServer(good)
    await upstream.start()
    file = folder / "killed.toml"
    file.write_text(
        f'[server]\nport = 0\nnode = "killed"\n[admin]\nport = 0\n[[upstreams]]\nname = "fake"\nkind = "anthropic"\n'
        f'base_url = "{upstream.base_url}"\napi_key_env = "UPSTREAM_KEY"\n'
    )
    environ = {**os.environ, "FAREGATE_HOME": str(folder / "home"), "UPSTREAM_KEY": UPSTREAM_KEY, **_database(folder)}
    command = (sys.executable, "-m", "faregate", "serve", "--config", str(file))
    child = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield upstream
    finally:
        child.kill()
        await child.wait()
        await upstream.stop()


async def test_a_batch_outlives_its_gateways_and_each_request_is_billed_once(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(COUNT))))["id"]
    asked = 0
    for calls in KILLS:
        async with serving(folder) as upstream:
            await until(lambda upstream=upstream, calls=calls: len(upstream.log) >= calls)  # type: ignore[misc]
        asked += len(upstream.log)
    async with running(folder, script=good, environ={"FAREGATE_SERVER_NODE": "killed"}) as gate:
        found = await over(gate, key, batch_id)
        asked += len(gate.upstream.log)

        assert found["request_counts"]["succeeded"] == COUNT
        assert await gate.books() == (OPENING - COUNT * COST, 0)
        assert COUNT <= asked <= COUNT + 4 * len(KILLS), "no more is asked for again than ran when it was killed"
        settled = [receipt for receipt in await gate.receipts(key) if receipt["state"] == "settled"]
        assert len(settled) == COUNT
        lost = -(await gate.running.store.office.operator_accounts())["crash_loss"]
        assert (lost > 0) >= (asked > COUNT), "what was made twice is a loss under its name"
