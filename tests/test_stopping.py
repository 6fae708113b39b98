"""Whoever stops the gateway is told what it waits for, and need not wait; whoever finds it dead finds the books right.

Method: `serve` in this process, calls that would go on for an hour, real signals; and a process that is killed.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from faregate import app
from faregate.stopping import until_signalled
from faregate.upstreams.scripted_server import ScriptedServer
from tests.faults.replica import SOURCE
from tests.gateway import ASK, running, wired
from tests.test_app import TOML, serving, told, where

AN_HOUR = "gap_ms=60000;frames=60"
NEVER = "head_ms=3600000"
TELLING = TOML.replace('"error"', '"info"\nformat = "json"')


def endless(controls: str, *, stream: bool = True) -> dict[str, object]:
    return {**ASK, "stream": stream, "metadata": {"user_id": controls}}


@contextlib.asynccontextmanager
async def calling(text: str, body: dict[str, object]) -> AsyncIterator[asyncio.StreamReader]:
    """A call that is under way: upstream has it, and money is held for it."""
    url, key = where(text)
    content = json.dumps(body).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {len(content)}\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    dialled = socket.socket()
    # Little fits into what a caller who does not read has room for.
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    dialled.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=dialled, limit=4096)
    writer.write(head.encode() + content)
    async with httpx2.AsyncClient(base_url=url, trust_env=False, headers={"x-api-key": key}) as client:
        async with asyncio.timeout(20):
            while (await client.get("/v1/wallet")).json()["held"] == "0":  # noqa: ASYNC110  # a hold has no event
                await asyncio.sleep(0.01)
    try:
        yield reader
    finally:
        writer.close()


async def noted(capsys: pytest.CaptureFixture[str], word: str) -> str:
    """What the log has said, once that has the word."""
    said = ""
    async with asyncio.timeout(20):
        while word not in said:
            said += capsys.readouterr().err
            await asyncio.sleep(0.01)
    return said


async def books(folder: Path) -> list[tuple[str, int]]:
    """How each call ended and what it cost, of a gateway that has ended; nothing is held, and the audit is clean."""
    async with app.gateway(told(folder)) as again:
        (wallet,) = await again.store.office.wallets()
        assert wallet.held == 0
        assert not any(finding.count for finding in await again.store.office.audit())
        page = await again.store.records.usage(
            wallet.id, key_id=None, model=None, since_ms=None, until_ms=None, before=None, limit=5
        )
        return [(str(receipt.outcome), receipt.charged) for receipt in page.receipts]


async def test_a_stream_is_cut_off_by_the_second_signal_with_one_error_and_costs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(told(tmp_path, TELLING)) as (task, text), calling(text, endless(AN_HOUR)) as reader:
        await reader.readuntil(b"event: message_start")
        os.kill(os.getpid(), signal.SIGINT)
        said = await noted(capsys, "a second Ctrl-C cuts them off")
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        rest = (await asyncio.wait_for(reader.read(), 20)).decode()
        assert await asyncio.wait_for(task, 20) == 0

    assert rest.count("event: error") == 1 and "message_stop" not in rest
    assert '"error_code":"shutting_down"' in rest.rpartition("event: error")[2]
    assert '"calls":1' in said
    after = said + capsys.readouterr().err
    assert "Traceback" not in after and "ASGI" not in after
    assert '"outcome":"shutdown"' in after
    assert await books(tmp_path) == [("shutdown", 0)]


async def test_a_call_without_an_answer_yet_is_cut_off_with_a_503(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(told(tmp_path, TELLING)) as (task, text), calling(text, endless(NEVER, stream=False)) as reader:
        os.kill(os.getpid(), signal.SIGTERM)
        await noted(capsys, "stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        answer = (await asyncio.wait_for(reader.read(), 20)).decode()
        assert await asyncio.wait_for(task, 20) == 0

    assert answer.startswith("HTTP/1.1 503 ")
    assert '"error_code":"shutting_down"' in answer
    assert await books(tmp_path) == [("shutdown", 0)]


async def test_a_caller_who_does_not_read_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flood = {**endless("frames=60000;output=60000"), "model": "claude-opus-4-7", "max_tokens": 60_000}
    async with serving(told(tmp_path, TELLING)) as (task, text), calling(text, flood) as reader:
        await reader.readexactly(16)
        await asyncio.sleep(0.3)  # Long enough for every buffer between us to fill; what is claimed holds either way.
        os.kill(os.getpid(), signal.SIGTERM)
        await noted(capsys, "stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(task, 20) == 0

    assert await books(tmp_path) == [("shutdown", 0)]


async def test_a_call_that_ends_in_time_ends_normally_and_is_billed_and_nobody_else_comes_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        serving(told(tmp_path, TELLING)) as (task, text),
        calling(text, endless("gap_ms=100;frames=8")) as reader,
    ):
        host, port = where(text)[0].removeprefix("http://").split(":")
        idle, idle_writer = await asyncio.open_connection(host, int(port))
        idle_writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await idle.readuntil(b"ok")
        os.kill(os.getpid(), signal.SIGTERM)
        await noted(capsys, "stopping")
        async with asyncio.timeout(20):
            while await accepted(host, int(port)):  # noqa: ASYNC110  # a closed door has no event
                await asyncio.sleep(0.01)
            assert await idle.read() in (b"}", b'"}'), "an idle connection is closed"
            idle_writer.close()
            rest = (await reader.read()).decode()
            assert await task == 0

    assert rest.endswith("0\r\n\r\n") and "event: message_stop" in rest and "event: error" not in rest
    ((outcome, charged),) = await books(tmp_path)
    assert outcome == "ok" and charged > 0


async def accepted(host: str, port: int) -> bool:
    """Whether somebody new is let in."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("controls", [AN_HOUR, NEVER], ids=["streaming", "before the first byte"])
async def test_a_call_beyond_the_deadline_is_cut_off_free_of_charge_and_upstream_hears_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], controls: str
) -> None:
    toml = TELLING.replace("[server]", "[server]\ndrain_s = 0.3")
    async with listening() as upstream:
        toml = toml.replace('kind = "scripted"', f'kind = "anthropic"\nbase_url = "{upstream.base_url}"\n'
                            'api_key_env = "UPSTREAM_KEY"')  # fmt: skip
        configured = told(tmp_path, toml, UPSTREAM_KEY="sk-upstream")
        async with serving(configured) as (task, text), calling(text, endless(controls)) as reader:
            async with asyncio.timeout(20):
                while not upstream.log:  # noqa: ASYNC110  # a request has no event
                    await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            said = await noted(capsys, "have not ended within server.drain_s")
            rest = (await asyncio.wait_for(reader.read(), 20)).decode()
            assert await asyncio.wait_for(task, 20) == 0
        async with asyncio.timeout(20):
            while not upstream.log[0].hung_up:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    if controls == NEVER:
        assert rest.startswith("HTTP/1.1 503 ") and '"error_code":"shutting_down"' in rest
    else:
        assert rest.count("event: error") == 1 and "message_stop" not in rest
    assert '"level":"warning"' in said and '"calls":1' in said
    assert "Traceback" not in said + capsys.readouterr().err
    async with app.gateway(configured) as again:
        assert not any(finding.count for finding in await again.store.office.audit())
        (wallet,) = await again.store.office.wallets()
        assert (wallet.posted, wallet.held) == (5_000_000_000, 0)


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[ScriptedServer]:
    upstream = ScriptedServer()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


async def test_a_gateway_that_stops_is_not_ready_and_serves_what_comes_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        assert (await gate.get("/readyz")).status_code == 200
        gate.running.door.stop()
        answer = await gate.get("/readyz")

        assert answer.status_code == 503
        assert answer.json()["error"]["details"]["error_code"] == "shutting_down"
        assert (await gate.get("/healthz")).status_code == 200
        assert (await gate.message(key)).status_code == 200


async def test_the_first_signal_says_to_whoever_asks_that_it_is_not_ready(tmp_path: Path) -> None:
    async with wired(tmp_path) as (gateway, _):
        with until_signalled([], gateway.door, gateway.gate.drains, drain_s=20):
            assert gateway.door.stopping_s == 0
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(20):
                while not gateway.door.stopping_s:  # noqa: ASYNC110  # a signal has no event
                    await asyncio.sleep(0.01)


async def test_an_idle_gateway_stops_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(told(tmp_path, TELLING)) as (task, _):
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(task, 20) == 0

    assert capsys.readouterr().err == ""


async def test_what_a_killed_gateway_held_is_given_back_at_the_next_start_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configured = told(tmp_path, TELLING)
    command = [sys.executable, "-m", "faregate", "serve", "--config", str(configured.file)]
    environ = {"FAREGATE_HOME": str(configured.home), "PATH": os.environ["PATH"], "FAREGATE_LOG_LEVEL": "error",
               "PYTHONPATH": str(SOURCE)}  # fmt: skip
    killed = await asyncio.create_subprocess_exec(*command, env=environ, stdout=subprocess.PIPE)
    assert killed.stdout is not None
    text = ""
    while "Ctrl-C" not in text:
        text += (await asyncio.wait_for(killed.stdout.readline(), 60)).decode()
    async with calling(text, endless(AN_HOUR)):
        killed.kill()
        await killed.wait()

    assert configured.socket.exists(), "a killed process cleans nothing up"
    async with serving(configured):
        said = await noted(capsys, "given back")
        with socket.socket(socket.AF_UNIX) as owner:
            owner.connect(str(configured.socket))
    assert '"calls":1' in said
    assert await books(tmp_path) == [("gateway_crash", 0)]
