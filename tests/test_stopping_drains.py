"""What is read on after its caller has left is waited for like a call, and cut like one.

Method: `serve` in this process with a catalog whose upstream runs to completion, a caller who leaves, and real signals.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from faregate import app
from faregate.settings import Settings
from tests.gateway import MODEL
from tests.test_app import serving, told
from tests.test_stopping import AN_HOUR, TELLING, calling, endless, noted

MINE = f"[models.{MODEL}]\nruns_to_completion = true\n"


async def lost(configured: Settings) -> tuple[int, int, int]:
    """(paid, held, abandoned), of a gateway that has ended; and the audit is clean."""
    async with app.gateway(configured) as again:
        assert not any(finding.count for finding in await again.store.office.audit())
        (wallet,) = await again.store.office.wallets()
        accounts = await again.store.office.operator_accounts()
        return 5_000_000_000 - wallet.posted, wallet.held, -accounts["abandon_loss"]


@pytest.mark.parametrize(
    ("controls", "signals"), [("gap_ms=150;frames=8", 1), (AN_HOUR, 2)], ids=["ends in time", "is cut"]
)
async def test_a_stop_waits_for_what_is_read_on_until_it_is_told_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], controls: str, signals: int
) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    configured = told(tmp_path, TELLING + '[catalog]\nfiles = ["mine.toml"]\n')
    async with serving(configured) as (task, text):
        async with calling(text, endless(controls)) as reader:
            await reader.readuntil(b"event: message_start")
        await noted(capsys, '"outcome":"client_gone"')
        os.kill(os.getpid(), signal.SIGTERM)
        said = await noted(capsys, "stopping")
        assert '"calls":1' in said and not task.done()
        if signals == 2:
            await asyncio.sleep(0.3)  # Longer than a server takes that has nobody to wait for.
            assert not task.done()
            os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(task, 20) == 0
        assert "Traceback" not in capsys.readouterr().err

    paid, held, abandoned = await lost(configured)
    assert paid > 0 and held == 0
    assert (abandoned > 0) == (signals == 1), "what was cut had made nothing more"
