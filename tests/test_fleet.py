"""The settings' upstreams are all started, in order, each with its own deadlines, and all stopped whatever happens.

Method: scripted upstreams, whose servers are real sockets in this process, and the real transport.
"""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faregate import settings as s
from faregate.fleet import running_upstreams
from faregate.upstreams.anthropic import Anthropic
from faregate.upstreams.port import Ask, Fault, FaultKind
from faregate.upstreams.script import End, Play
from faregate.upstreams.scripted import Scripted
from faregate.upstreams.scripted_server import ScriptedServer
from tests.upstreams.asking import open_sockets, until, whole
from tests.upstreams.chat_peer import ChatPeer, Played, delta, stream

ASK = Ask(
    document={},
    body=b'{"model": "m", "max_tokens": 5, "messages": []}',
    model="m",
    stream=True,
    version="2023-06-01",
    beta=None,
    wallet_id="w",
)

CHAT = msgspec.structs.replace(
    ASK, document={"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
)


def told(folder: Path, *upstreams: s.Upstream) -> s.Settings:
    return msgspec.structs.replace(s.load({"ANTHROPIC_API_KEY": "k"}, folder=folder), upstreams=upstreams)


def port_of(upstream: object) -> int:
    assert isinstance(upstream, Scripted)
    return int(upstream.server.base_url.rpartition(":")[2])


async def test_every_upstream_runs_by_its_name_in_the_order_of_the_settings(tmp_path: Path) -> None:
    names = ["zebra", "apple", "mango"]
    settings = told(tmp_path, *(s.Upstream(name=name, kind="scripted") for name in names))

    async with running_upstreams(settings) as upstreams:
        assert list(upstreams) == names
        assert [upstream.name for upstream in upstreams.values()] == names
        assert all(upstream.healthy() for upstream in upstreams.values())
        answer = await upstreams["apple"].send(ASK)
        assert answer.status == 200
        answer.cancel()


async def test_no_more_connections_are_opened_to_an_upstream_than_its_settings_say(tmp_path: Path) -> None:
    settings = told(tmp_path, s.Upstream(name="one", kind="scripted", connections_max=2))
    async with running_upstreams(settings) as upstreams:
        slow = msgspec.structs.replace(
            ASK, body=ASK.body.replace(b"}", b', "stream": true, "metadata": {"user_id": "frames=9;gap_ms=60000"}}')
        )
        answers = [await upstreams["one"].send(slow) for _ in range(2)]
        third = asyncio.create_task(upstreams["one"].send(slow))
        await asyncio.sleep(0.05)
        assert not third.done(), "it waits for its turn"
        answers[0].cancel()
        (await third).cancel()
        answers[1].cancel()


async def test_all_are_stopped_in_the_end(tmp_path: Path) -> None:
    settings = told(tmp_path, *(s.Upstream(name=name, kind="scripted") for name in ("one", "two")))
    async with running_upstreams(settings) as upstreams:
        ports = [port_of(upstream) for upstream in upstreams.values()]

    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_those_that_started_are_stopped_when_a_later_one_cannot_start(tmp_path: Path) -> None:
    started = s.Upstream(name="started", kind="scripted")
    faulty = s.Upstream(name="faulty", kind="anthropic", base_url="https://h", api_keys=(s.Secret("line\nbreak"),))
    before = open_sockets()

    with pytest.raises(ValueError, match="x-api-key"):
        async with running_upstreams(told(tmp_path, started, faulty)):
            raise AssertionError("it does not get so far")
    assert open_sockets() == before


async def test_an_anthropic_upstream_gets_its_key_its_header_and_its_deadlines(tmp_path: Path) -> None:
    server = ScriptedServer([None, Play(ending=End.STALL, ending_after=0, head_delay_ms=60_000)])
    await server.start()
    try:
        entry = s.Upstream(
            name="theirs",
            kind="anthropic",
            base_url=server.base_url,
            api_keys=(s.Secret("a-secret"),),
            auth="bearer",
            timeouts=s.Timeouts(first_byte_s=0.1),
        )
        async with running_upstreams(told(tmp_path, entry)) as upstreams:
            upstream = upstreams["theirs"]
            assert isinstance(upstream, Anthropic) and not upstream.embedded
            (await upstream.send(ASK)).cancel()
            assert server.log[-1].headers["authorization"] == "Bearer a-secret"
            assert "x-api-key" not in server.log[-1].headers

            with pytest.raises(Fault) as late:
                await upstream.send(ASK)
            assert late.value.kind is FaultKind.TIMEOUT
            answer = await upstream.send(ASK)
            while await answer.read():
                pass
            assert server.open_connections == 1, "it is kept for the next call"
        await until(lambda: server.open_connections == 0)
    finally:
        await server.stop()


async def test_deadlines_are_each_upstreams_own(tmp_path: Path) -> None:
    server = ScriptedServer(lambda seen: Play(frames=(b"{}",), head_delay_ms=400))
    await server.start()
    try:
        hasty, patient = (
            s.Upstream(
                name=name, kind="anthropic", base_url=server.base_url, api_keys=(s.Secret("k"),), timeouts=deadline
            )
            for name, deadline in (("hasty", s.Timeouts(first_byte_s=0.1)), ("patient", s.Timeouts(first_byte_s=30)))
        )
        async with running_upstreams(told(tmp_path, hasty, patient)) as upstreams:
            with pytest.raises(Fault):
                await upstreams["hasty"].send(ASK)
            answer = await upstreams["patient"].send(ASK)
            assert answer.status == 200
            answer.cancel()
    finally:
        await server.stop()


async def test_no_upstreams_are_no_error_here(tmp_path: Path) -> None:
    async with running_upstreams(told(tmp_path)) as upstreams:
        assert upstreams == {}


async def test_an_openai_upstream_gets_its_keys_and_its_names_for_models(tmp_path: Path) -> None:
    async with ChatPeer(Played(body=stream(delta(content="Hi", finish="stop")))) as peer:
        entry = s.Upstream(
            name="theirs",
            kind="openai",
            base_url=peer.base_url,
            api_keys=(s.Secret("one"), s.Secret("two")),
            auth="bearer",
            models={"m": "Qwen/Qwen3"},
        )
        async with running_upstreams(told(tmp_path, entry)) as upstreams:
            for _ in range(2):
                await whole(await upstreams["theirs"].send(CHAT))
        assert [asked.body["model"] for asked in peer.log] == ["Qwen/Qwen3"] * 2
        assert [asked.headers["authorization"] for asked in peer.log] == ["Bearer one", "Bearer two"]
