"""The first start makes a demo wallet and shows its key once; every later one says where we are and how to get another.

Method: a real store on a new database; the banner read as its reader does, and its curl run word for word.
"""

import asyncio
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from faregate.core.access import well_formed
from faregate.edge import desk, forms
from faregate.settings import Settings, load
from faregate.welcome import DEMO, welcome
from tests.gateway import MODEL, UPSTREAM_KEY, Gate, running

KEY = re.compile(r"sk-fare-[0-9A-Za-z_]+")


def settings(folder: Path, environ: dict[str, str]) -> Settings:
    return load({"FAREGATE_HOME": str(folder / "home"), **environ}, folder=folder / "home")


async def banner(gate: Gate, folder: Path, **environ: str) -> str:
    out = io.StringIO()
    told = settings(folder, environ or {"ANTHROPIC_API_KEY": UPSTREAM_KEY})
    await welcome(gate.running.desk, told, base_url=gate.base_url, model=MODEL, out=out)
    return out.getvalue()


async def test_a_new_database_gets_a_demo_wallet_and_a_key_that_works(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        text = await banner(gate, tmp_path)
        (key,) = set(KEY.findall(text))

        assert well_formed(key)
        assert gate.base_url in text and str(tmp_path / "home") in text
        assert "demo: 5,000,000 credits" in text
        assert "shown this once" in text
        assert (await gate.get("/v1/wallet", key)).json()["balance"] == "5000000"
        assert (await gate.message(key)).status_code == 200
        await gate.books(DEMO)


async def test_replicas_that_begin_together_on_an_empty_database_make_one_demo_wallet(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        texts = await asyncio.gather(*(banner(gate, tmp_path) for _ in range(3)))

        assert len({key for text in texts for key in KEY.findall(text) if well_formed(key)}) == 1
        assert [wallet.name for wallet in await gate.running.store.office.wallets()] == [DEMO]


async def test_the_curl_of_each_banner_streams_an_answer(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("this machine has no curl to run the banner's command with")
    async with running(tmp_path) as gate:
        first = await banner(gate, tmp_path)
        again = await banner(gate, tmp_path)
        for text in (first, again):
            command = text[text.index("curl -iN") : text.index("Ctrl-C")].strip()
            ran = await asyncio.to_thread(
                subprocess.run,
                ["sh", "-c", f"{command} --noproxy '*' -sS"],
                env={"PATH": os.environ["PATH"], "FAREGATE_KEY": KEY.findall(first)[0]},
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            )
            assert ran.stdout.startswith("HTTP/1.1 200"), ran.stdout
            assert "x-credits-max: " in ran.stdout
            assert "event: message_stop" in ran.stdout


async def test_the_second_start_keeps_the_wallet_and_says_when_the_key_was_shown(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        (key,) = set(KEY.findall(await banner(gate, tmp_path)))
        again = await banner(gate, tmp_path)

        assert key not in again
        assert re.search(r"sk-fare-\w{12}_… was shown at the first start, \d{4}-\d\d-\d\d \d\d:\d\d UTC", again)
        assert f"faregate key create --wallet {DEMO}" in again
        assert "$FAREGATE_KEY" in again
        assert len(await gate.running.store.office.wallets()) == 1


async def test_an_operators_own_database_is_given_no_demo(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        await gate.key("our customers")
        text = await banner(gate, tmp_path)

        assert [wallet.name for wallet in await gate.running.store.office.wallets()] == ["our customers"]
        assert "sk-fare-" not in text and "shown" not in text
        assert "faregate key create --wallet 'our customers'" in text


async def test_a_demo_wallet_whose_key_was_revoked_says_how_to_get_another(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        (key,) = set(KEY.findall(await banner(gate, tmp_path)))
        await desk.key_revoke(gate.running.desk, desk.Asked(name=key.removeprefix("sk-fare-").partition("_")[0]))
        text = await banner(gate, tmp_path)

        assert "was shown" not in text
        assert f"faregate key create --wallet {DEMO}" in text


async def test_a_start_that_broke_off_before_the_key_was_made_is_made_good(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        await desk.wallet_create(gate.running.desk, desk.Asked(form=forms.NewWallet(name=DEMO)))
        assert f"faregate key create --wallet {DEMO}" in await banner(gate, tmp_path)


async def test_the_offline_model_is_labelled_as_one_and_a_real_upstream_is_not(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        offline = await banner(gate, tmp_path, PATH="")
        real = await banner(gate, tmp_path)

    assert "a small offline model for trying and testing; set ANTHROPIC_API_KEY" in offline
    assert "offline model" not in real
    assert UPSTREAM_KEY not in real
