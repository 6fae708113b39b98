"""The scripted upstream as a gateway runs it, and as a benchmark does: alone."""

import asyncio
import signal
import socket
import sys

import pytest

from faregate.upstreams.anthropic import Anthropic
from faregate.upstreams.port import Fault, FaultKind, Upstream
from faregate.upstreams.script import failure
from faregate.upstreams.scripted import Scripted
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import ask, whole


async def test_it_answers_counts_and_is_healthy_while_it_runs_and_only_then() -> None:
    transport = Transport()
    scripted = Scripted(name="play", transport=transport)
    upstream: Upstream = scripted
    assert not upstream.healthy()
    with pytest.raises(Fault) as caught:
        await upstream.send(ask())
    assert caught.value.kind is FaultKind.CONNECT
    await upstream.start()
    assert upstream.healthy()
    answer = await upstream.send(ask(stream=True))
    assert (await whole(answer)).startswith(b"event: message_start\n")
    counted = await upstream.count_tokens(ask())
    assert counted is not None
    assert counted > 0
    await transport.aclose()
    await upstream.stop()
    assert not upstream.healthy()


async def test_a_script_can_be_given_and_changed() -> None:
    transport = Transport()
    scripted = Scripted(name="play", transport=transport, script=[failure(529, "overloaded_error", "no")])
    await scripted.start()
    assert [(await scripted.send(ask())).status for _ in range(2)] == [529, 200]
    scripted.server.play(lambda seen: failure(500, "api_error", "no"))
    assert (await scripted.send(ask())).status == 500
    await transport.aclose()
    await scripted.stop()


async def test_alone_it_prints_its_base_url_serves_and_stops_at_a_signal() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "faregate.upstreams.scripted", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().strip()
    transport = Transport()
    adapter = Anthropic(name="alone", base_url=base_url, api_keys=["k"], transport=transport)
    assert b'"type":"message"' in await whole(await adapter.send(ask()))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    await transport.aclose()


async def test_alone_on_a_busy_port_it_says_so_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "faregate.upstreams.scripted",
            "--port",
            str(port),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors.decode()
