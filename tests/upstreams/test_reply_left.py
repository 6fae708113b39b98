"""An answer that is left has a moment to end by itself: then its connection serves again. Anything else ends it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.upstreams.reply import LEFT_S, Reply, Timeouts
from faregate.upstreams.script import frames_of
from tests.contract.handmade import LAST_CHUNK, by_hand
from tests.contract.riders import Rider, message, streamed, until
from tests.upstreams.test_reply import Line

FRAMES = frames_of(message("One two", input_tokens=5, output_tokens=5))


@pytest.mark.parametrize(
    ("then", "calls"),
    [
        (lambda reply: reply.end(), []),
        (lambda reply: reply.take_body(b"more than an end"), ["hang_up"]),
        (lambda reply: reply.cancel(), ["hang_up"]),
    ],
)
async def test_it_is_let_end_and_nothing_else(then: Callable[[Reply], None], calls: list[str]) -> None:
    line = Line()
    reply = Reply(asyncio.get_running_loop(), line, "upstream:1", Timeouts(), 5.0)
    reply.take_head(200, {})
    reply.leave()
    assert line.calls == []

    then(reply)
    assert line.calls == calls


async def test_it_is_overdue_when_its_moment_has_passed() -> None:
    loop = asyncio.get_running_loop()
    reply = Reply(loop, Line(), "upstream:1", Timeouts(), 5.0)
    reply.take_head(200, {})
    assert reply.overdue(loop.time() + LEFT_S) is None
    reply.leave()

    assert "did not end its answer" in (reply.overdue(loop.time() + LEFT_S) or "")


async def test_one_that_is_left_unread_is_ended_at_once() -> None:
    line = Line()
    reply = Reply(asyncio.get_running_loop(), line, "upstream:1", Timeouts(), 5.0)
    reply.take_head(200, {})
    reply.take_body(b"unread")
    reply.leave()

    assert line.calls == ["hang_up"]


async def test_a_stream_whose_framing_ends_a_packet_later_gives_its_connection_back(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        for _ in range(2):
            rider = await Rider.ask(gate, key, streamed())
            turn = await upstream.turn()
            turn.begin(*FRAMES)
            await rider.whole()
            turn.write(LAST_CHUNK)
            rider.leave()
            await gate.settled(key)

        assert upstream.connections == 1


async def test_a_stream_whose_framing_never_ends_loses_its_connection(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed())
        turn = await upstream.turn()
        turn.begin(*FRAMES)
        await rider.whole()

        await until(lambda: turn.left)
        rider.leave()
