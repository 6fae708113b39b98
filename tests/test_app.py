"""The gateway starts whole or not at all, says where it is, and ends cleanly when it is told to.

Method: `serve` in this process on ports of the system's choice, ended by a real signal; and as a command where the
process itself is the subject.
"""

import asyncio
import contextlib
import io
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from faregate import app, settings
from faregate.core.catalog import CatalogError
from faregate.core.ledger import Outcome
from faregate.edge.listen import Busy, listen
from faregate.store.database import StoreRefused
from faregate.welcome import welcome
from tests.edge.line import PlayedLine
from tests.gateway import ASK, running

TOML = """
[server]
port = 0
[admin]
port = 0
[[upstreams]]
name = "fake"
kind = "scripted"
[log]
level = "error"
"""


def told(folder: Path, toml: str = TOML, **environ: str) -> settings.Settings:
    file = folder / "faregate.toml"
    file.write_text(toml)
    return settings.load({"FAREGATE_HOME": str(folder / "home"), **environ}, folder=folder, file=file)


@contextlib.asynccontextmanager
async def serving(configured: settings.Settings) -> AsyncIterator[tuple[asyncio.Task[int], str]]:
    """A gateway and its banner; it is ended by SIGTERM."""
    out = io.StringIO()
    task = asyncio.create_task(app.serve(configured, out=out))
    try:
        async with asyncio.timeout(20):
            while "Ctrl-C" not in out.getvalue() and not task.done():  # noqa: ASYNC110  # a banner has no event
                await asyncio.sleep(0.01)
        yield task, out.getvalue()
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 20)


def where(text: str) -> tuple[str, str]:
    url, key = re.search(r"http://\S+", text), re.search(r"sk-fare-\w+", text)
    assert url is not None and key is not None
    return url[0], key[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal_and_ends_at_once_when_idle(tmp_path: Path, number: signal.Signals) -> None:
    async with serving(told(tmp_path)) as (task, text):
        url, key = where(text)
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            answer = await client.post("/v1/messages", headers={"x-api-key": key}, json=ASK)
            assert answer.status_code == 200
            # The client's connection is still open: an idle one does not hold the gateway.
            began = time.monotonic()
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(task, 20) == 0
            assert time.monotonic() - began < 5
    assert not (tmp_path / "home" / "admin.sock").exists()


async def test_a_call_under_way_ends_before_the_gateway_does(tmp_path: Path) -> None:
    async with serving(told(tmp_path)) as (task, text):
        url, key = where(text)
        body = {**ASK, "stream": True, "metadata": {"user_id": "gap_ms=50;frames=8"}}
        async with (
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
            client.stream("POST", "/v1/messages", headers={"x-api-key": key}, json=body) as answer,
        ):
            os.kill(os.getpid(), signal.SIGTERM)
            assert "event: message_stop" in (await answer.aread()).decode()
        assert await asyncio.wait_for(task, 20) == 0

    async with app.gateway(told(tmp_path)) as again:
        (wallet,) = await again.store.office.wallets()
        assert wallet.held == 0 and wallet.posted < 5_000_000_000
        assert not any(finding.count for finding in await again.store.office.audit())


async def test_a_second_signal_does_not_wait_for_calls_and_they_cost_nothing(tmp_path: Path) -> None:
    async with serving(told(tmp_path)) as (task, text):
        url, key = where(text)
        body = {**ASK, "stream": True, "metadata": {"user_id": "gap_ms=60000;frames=8"}}
        async with (
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client,
            client.stream("POST", "/v1/messages", headers={"x-api-key": key}, json=body) as answer,
        ):
            assert answer.status_code == 200
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
            assert not task.done(), "the first signal lets the call go on"
            os.kill(os.getpid(), signal.SIGTERM)
            assert await asyncio.wait_for(task, 10) == 0

    async with app.gateway(told(tmp_path)) as again:
        (wallet,) = await again.store.office.wallets()
        assert (wallet.posted, wallet.held) == (5_000_000_000, 0)
        page = await again.store.records.usage(
            wallet.id, key_id=None, model=None, since_ms=None, until_ms=None, before=None, limit=5
        )
        assert [(receipt.outcome, receipt.charged) for receipt in page.receipts] == [(Outcome.SHUTDOWN, 0)]


async def test_the_ledger_stays_open_until_the_last_call_has_told_it_how_it_ended(tmp_path: Path) -> None:
    wired = app.gateway(told(tmp_path))
    running = await wired.__aenter__()
    line = PlayedLine()
    call = running.door.call(line, [(b"x-api-key", (await demo_key(running)).encode())])
    served = asyncio.create_task(running.door.serve(call))
    await asyncio.sleep(0)
    closing = asyncio.create_task(wired.__aexit__(None, None, None))
    await asyncio.wait([closing], timeout=0.3)
    assert not closing.done()
    assert await running.store.records.writable()

    line.lose(call)
    await asyncio.wait_for(asyncio.gather(closing, served), 20)
    assert not await running.store.records.writable()


async def demo_key(running: app.Running) -> str:
    out = io.StringIO()
    configured = settings.load({"ANTHROPIC_API_KEY": "k"}, folder=Path("/nowhere"))
    await welcome(running.desk, configured, base_url="http://gate", model="m", out=out)
    return where(out.getvalue())[1]


async def test_a_second_start_keeps_wallet_key_and_receipts(tmp_path: Path) -> None:
    async with serving(told(tmp_path)) as (_, text):
        url, key = where(text)
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            first = await client.post("/v1/messages", headers={"x-api-key": key}, json=ASK)
    async with serving(told(tmp_path)) as (_, text):
        assert key not in text and "was shown at the first start" in text
        url = text[text.index("http://") :].split()[0]
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
            receipt = await client.get(f"/v1/receipts/{first.json()['id']}", headers={"x-api-key": key})
            assert receipt.json()["charged"] == first.headers["x-credits-charged"]


async def test_the_owners_socket_speaks_the_admin_api_and_only_to_its_owner(tmp_path: Path) -> None:
    configured = told(tmp_path)
    async with serving(configured) as (_, text):
        assert configured.socket.stat().st_mode & 0o077 == 0
        transport = httpx2.AsyncHTTPTransport(uds=str(configured.socket))
        async with httpx2.AsyncClient(transport=transport, base_url="http://owner") as client:
            wallets = (await client.get("/admin/v1/wallets")).json()["wallets"]
            assert [wallet["name"] for wallet in wallets] == ["demo"]
            url, key = where(text)
            async with httpx2.AsyncClient(base_url=url, trust_env=False, headers={"x-api-key": key}) as caller:
                assert (await caller.get("/v1/wallet")).status_code == 200
                key_id = key.removeprefix("sk-fare-").partition("_")[0]
                assert (await client.post(f"/admin/v1/keys/{key_id}/revoke")).status_code == 200
                assert (await caller.get("/v1/wallet")).status_code == 401


async def test_the_admin_listener_exists_only_with_a_token(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0, setting="admin") as chosen:
        port = chosen.getsockname()[1]
    toml = TOML.replace("[admin]\nport = 0", f"[admin]\nport = {port}")
    async with serving(told(tmp_path, toml)):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    async with (
        serving(told(tmp_path, toml, FAREGATE_ADMIN_TOKEN="t" * 40)),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert (await client.get("/admin/v1/wallets")).status_code == 401
        allowed = await client.get("/admin/v1/wallets", headers={"authorization": f"Bearer {'t' * 40}"})
        assert allowed.status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be read on Linux alone")
def test_it_may_have_as_many_open_files_as_the_system_allows(tmp_path: Path) -> None:
    file = tmp_path / "faregate.toml"
    file.write_text(TOML)
    command = (
        f"ulimit -Sn 256 && exec {shlex.quote(sys.executable)} -m faregate serve --config {shlex.quote(str(file))}"
    )
    environ = {**os.environ, "FAREGATE_HOME": str(tmp_path / "home")}
    with subprocess.Popen(["sh", "-c", command], env=environ, stdout=subprocess.PIPE, text=True) as gateway:
        try:
            assert gateway.stdout is not None and any("http://" in line for line in gateway.stdout)
            soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
        finally:
            gateway.terminate()
    assert soft == hard > 256


async def test_a_busy_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0, setting="server") as taken:
        port = taken.getsockname()[1]
        configured = told(tmp_path, TOML.replace("[server]\nport = 0", f"[server]\nport = {port}"))
        with pytest.raises(Busy, match=rf"server\.port: 127\.0\.0\.1:{port}"):
            await app.serve(configured, out=io.StringIO())
    assert not (tmp_path / "home").exists()


async def test_a_second_gateway_on_the_same_database_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    configured = told(tmp_path)
    async with serving(configured) as (_, text):
        with pytest.raises(StoreRefused):
            await app.serve(configured, out=io.StringIO())
        url, key = where(text)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/v1/wallet", headers={"x-api-key": key})).status_code == 200
        assert configured.socket.exists(), "the first one's door is still there"


async def test_a_catalog_that_is_wrong_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text("[models.mine]\n")
    configured = told(tmp_path, TOML + '[catalog]\nfiles = ["more.toml"]\n')
    with pytest.raises(CatalogError, match=r"more\.toml"):
        await app.serve(configured, out=io.StringIO())
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:")])
def test_the_base_url_is_what_sdks_take(host: str, shown: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with listen(host, 0, setting="server") as listener:
        assert app.base_url(listener) == f"{shown}{listener.getsockname()[1]}"


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")])
def test_a_listener_on_every_address_is_reached_by_the_loopback_one(host: str, shown: str) -> None:
    with listen(host, 0, setting="server") as listener:
        assert app.base_url(listener) == f"{shown}{listener.getsockname()[1]}"


async def test_each_call_has_an_id_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        ids = [gate.running.gate.new_id("msg_") for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert all(re.fullmatch(r"msg_[0-9A-Z]{26}", made) for made in ids)
