"""A gateway that is killed while upstream runs its batch: whoever is started next asks on, and each is billed once.

Method: `faregate serve` as a process of its own, killed with SIGKILL once upstream has the batch, before or after it
has said so; then a gateway in this process on the same ledger.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from faregate.upstreams.script import End, Play, plain
from tests.contract.batches import COST, GOOD, LEFT, OPENING, made, over
from tests.contract.natives import THEIRS, good, hasten, native
from tests.contract.riders import until
from tests.gateway import MODEL, UPSTREAM_KEY, _database
from tests.upstreams.batch_peer import BatchPeer

ROOT = Path(__file__).parents[2]


async def killed(folder: Path, peer: BatchPeer, *, asked: int) -> None:
    """Serve the ledger of `folder` with this peer until it has been asked so often, and kill."""
    await peer.server.start()
    file = folder / "killed.toml"
    file.write_text(
        f'[server]\nport = 0\n[admin]\nport = 0\n[[upstreams]]\nname = "native"\nkind = "anthropic"\nbatches = true\n'
        f'base_url = "{peer.server.base_url}"\napi_key_env = "UPSTREAM_KEY"\nmodels = {{ "{MODEL}" = "{THEIRS}" }}\n'
    )
    own = {"FAREGATE_HOME": str(folder / "home"), "UPSTREAM_KEY": UPSTREAM_KEY, "FAREGATE_SERVER_NODE": "main"}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faregate", "serve", "--config", str(file)),
        cwd=ROOT, env={**os.environ, **own, **_database(folder)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: len(peer.asked) >= asked)
    finally:
        child.kill()
        await child.wait()
        await peer.server.stop()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_batch_upstream_outlives_its_gateway(
    folder: Path, answers: bool, monkeypatch: pytest.MonkeyPatch  # noqa: FBT001
) -> None:  # fmt: skip
    hasten(monkeypatch)
    peer = BatchPeer(good, polls=2, calls=plain(GOOD))
    async with native(folder, BatchPeer(good), toml=LEFT) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(70))))["id"]
    if not answers:
        peer.after_taking = [Play(ending=End.STALL, frames=(b"x",), ending_after=0, head_delay_ms=10**7)]
    await killed(folder, peer, asked=2 if answers else 1)
    async with native(folder, peer) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 70
        assert len(peer.batches) == 1 and len(peer.billed) == (70 if answers else 0)
        lost = -(await gate.running.store.office.operator_accounts())["crash_loss"]
        assert (lost > 0) is not answers, "what upstream may have made for nobody is a loss under its name"
        assert await gate.books() == (OPENING - 70 * COST, 0)
