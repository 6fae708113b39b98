"""Connections are shared last in, first out, are never more than their bound, and whoever waits is served in turn."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from faregate.upstreams.connection import Connection
from faregate.upstreams.origin import Origin
from faregate.upstreams.pool import Limits, Pool
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import Reply, Timeouts
from faregate.upstreams.script import End, Play, Script, events
from faregate.upstreams.scripted_server import ScriptedServer
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import post, until, whole


class Pair:
    def __init__(self, script: Script | None = None, *, timeouts: Timeouts | None = None, **limits: Any) -> None:
        self.server = ScriptedServer(script)
        self.transport = Transport(timeouts=timeouts, limits=Limits(**limits))

    async def __aenter__(self) -> "Pair":
        await self.server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.transport.aclose()
        await self.server.stop()

    async def post(self) -> Reply:
        return await post(self.transport, self.server.base_url)

    async def call(self) -> bytes:
        return await whole(await self.post())

    @property
    def sizes(self) -> tuple[int, int]:
        return next(iter(self.transport.sizes().values()))


STALL = events([b"a"], ending=End.STALL)


async def test_no_more_connections_are_opened_than_the_bound_and_everybody_is_served() -> None:
    async with Pair(lambda seen: events([b"x"] * 3, gap_ms=1), connections_max=3, wait_s=60) as pair:
        answers = await asyncio.gather(*(pair.call() for _ in range(40)))
        assert answers == [b"xxx"] * 40
        assert pair.server.connections == 3
        assert pair.sizes == (3, 3)


async def test_whoever_waits_too_long_is_told_the_limits_and_sends_nothing() -> None:
    async with Pair([STALL], connections_max=1, wait_s=0.05) as pair:
        await pair.post()
        with pytest.raises(Fault, match=r"limits\.connections_max.*0\.05 s \(limits\.wait_s\)") as caught:
            await pair.post()
        assert caught.value.kind is FaultKind.CONNECT
        assert len(pair.server.log) == 1


async def test_who_waits_gets_the_connection_that_comes_free_or_its_place() -> None:
    async with Pair([STALL, None], connections_max=1, wait_s=60) as pair:
        first = await pair.post()
        waiting = asyncio.create_task(pair.call())
        await asyncio.sleep(0.02)
        assert len(pair.server.log) == 1
        first.cancel()
        assert await waiting
        assert pair.server.connections == 2


@pytest.mark.parametrize("turns", range(8))
async def test_a_place_given_to_one_who_leaves_goes_to_the_next(turns: int) -> None:
    """However far the leaver has come: still waiting, its turn come but not run, or dialling."""
    async with Pair([STALL], connections_max=1, wait_s=60) as pair:
        first = await pair.post()
        leaver = asyncio.create_task(pair.call())
        stayer = asyncio.create_task(pair.call())
        await asyncio.sleep(0.02)
        first.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        leaver.cancel()
        assert await stayer
        await asyncio.gather(leaver, return_exceptions=True)
        await until(lambda: pair.sizes == (1, 1))


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_given_to_one_who_leaves_goes_to_the_next(turns: int) -> None:
    async with Pair([events([b"x"], head_delay_ms=30)], connections_max=1, wait_s=60) as pair:
        first = asyncio.create_task(pair.post())
        await until(lambda: bool(pair.server.log))
        leaver = asyncio.create_task(pair.call())
        stayer = asyncio.create_task(pair.call())
        await first
        for _ in range(turns):
            await asyncio.sleep(0)
        leaver.cancel()
        assert await stayer
        await asyncio.gather(leaver, return_exceptions=True)
        await until(lambda: pair.sizes == (1, 1))


async def test_the_connection_used_last_is_used_next_and_old_ones_are_closed() -> None:
    async with Pair(
        lambda seen: events([b"x"], head_delay_ms=20), timeouts=Timeouts(idle=0.2), idle_s=0.3, idle_max=8
    ) as pair:
        await asyncio.gather(*(pair.call() for _ in range(4)))
        assert pair.sizes == (4, 4)
        async with asyncio.timeout(20):
            while pair.sizes != (1, 1):
                await pair.call()
        assert pair.server.connections == 4
        await until(lambda: pair.sizes == (0, 0))
        await until(lambda: pair.server.open_connections == 0)


async def test_no_more_idle_connections_are_kept_than_the_bound() -> None:
    async with Pair(lambda seen: events([b"x"], head_delay_ms=20), idle_max=2) as pair:
        await asyncio.gather(*(pair.call() for _ in range(5)))
        await until(lambda: pair.sizes == (2, 2))
        await until(lambda: pair.server.open_connections == 2)


async def test_a_fresh_connection_is_found_even_when_all_places_are_taken_by_idle_ones() -> None:
    lost = Play(raw=b"", ending=End.REFUSE)
    script = [events([b"x"], head_delay_ms=20)] * 2
    async with Pair([*script, lost, None], connections_max=2, race_s=60, wait_s=60) as pair:
        await asyncio.gather(pair.call(), pair.call())
        assert pair.sizes == (2, 2)
        assert await pair.call()
        assert len(pair.server.log) == 4
        assert pair.server.connections == 3, "the second try must not go through another connection of the same age"


async def test_a_fresh_connection_takes_an_idle_ones_place_when_there_is_no_other() -> None:
    async with Pair([events([b"x"], head_delay_ms=20)] * 2, connections_max=2, wait_s=60) as pair:
        await asyncio.gather(pair.call(), pair.call())
        pool = next(iter(pair.transport._pools.values()))
        assert (pool.size, pool.idle) == (2, 2)
        fresh = await pool.take_fresh()
        assert not fresh.reused
        assert pool.size <= 2


async def test_a_close_comes_back_only_when_no_socket_is_left() -> None:
    async with Pair() as pair:
        await pair.call()
        pool = next(iter(pair.transport._pools.values()))
        await pool.aclose()
        assert pool.size == 0


async def test_an_idle_connection_that_is_closing_is_passed_over() -> None:
    async with Pair(race_s=0) as pair:
        await pair.call()
        pool = next(iter(pair.transport._pools.values()))
        pool._idle[-1].hang_up()
        assert pool.idle == 1, "its loss has not been told yet"
        assert await pair.call()
        assert pair.server.connections == 2


async def test_a_connection_that_was_gone_before_it_was_used_is_a_connect_fault() -> None:
    async def stillborn(origin: Origin, make: Callable[[], Connection]) -> Connection:
        return make()

    pool = Pool(asyncio.get_running_loop(), Origin("http", "h", 80), stillborn, Limits(), 5.0)
    with pytest.raises(Fault, match="as soon as it was open") as caught:
        await pool.take()
    assert caught.value.kind is FaultKind.CONNECT
    assert pool.size == 0


async def test_a_failed_attempt_gives_its_place_back() -> None:
    async with Pair(connections_max=1, wait_s=0.05) as pair:
        port = int(pair.server.base_url.rsplit(":", 1)[1])
        await pair.server.stop()
        for _ in range(3):
            with pytest.raises(Fault, match="cannot connect"):
                await pair.post()
        assert pair.sizes == (0, 0)
        again = ScriptedServer(port=port)
        await again.start()
        assert await whole(await post(pair.transport, again.base_url))
        await again.stop()


@pytest.mark.parametrize(
    ("field", "value"), [("connections_max", 0), ("idle_max", -1), ("idle_s", -1), ("wait_s", -1), ("race_s", -1)]
)
def test_a_limit_that_cannot_be_is_refused_by_name(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"limits\.{field}"):
        Limits(**{field: value})
