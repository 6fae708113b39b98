"""The one HTTP client against a real server on loopback, on both event loops: every fault by its kind, and no leak."""

import asyncio
from typing import Any

import pytest

from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.script import End, Play, events, frame
from tests.upstreams.asking import post, until, whole
from tests.upstreams.pair import Pair

TEXTS = events([frame("ping") for _ in range(50)])


async def test_an_answer_comes_whole_and_its_connection_serves_the_next() -> None:
    async with Pair([TEXTS, Play(frames=(b"plain",), headers=(("X-One", "1"),)), None]) as pair:
        assert await whole(await pair.post()) == b"".join(TEXTS.frames)
        reply = await pair.post()
        assert (reply.status, reply.headers["x-one"]) == (200, "1")
        assert await whole(reply) == b"plain"
        assert (await pair.post()).status == 200
        assert pair.server.connections == 1
        assert [seen.index for seen in pair.server.log] == [0, 1, 2]


async def test_fifty_at_once_each_get_their_own_answer() -> None:
    def echo(seen: Any) -> Play:
        return events([seen.body[:2], seen.body[2:]] * 20, gap_ms=1)

    async with Pair(echo) as pair:

        async def one(number: int) -> None:
            body = b"%04d" % number
            assert await whole(await pair.post(body)) == body * 20

        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(one(number))
        assert pair.server.connections == 50


async def test_any_status_is_an_answer() -> None:
    async with Pair([Play(status=status, frames=(b"x",)) for status in (400, 429, 500, 529)]) as pair:
        for status in (400, 429, 500, 529):
            reply = await pair.post()
            assert (reply.status, await whole(reply)) == (status, b"x")


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (Play(ending=End.REFUSE), FaultKind.RESET),
        (Play(raw=b"", ending=End.RESET), FaultKind.RESET),
        (Play(frames=(b"abc",), ending=End.RESET, ending_after=0), FaultKind.RESET),
        (events([b"a", b"b"], ending=End.CUT), FaultKind.RESET),
        (events([b"a", b"b"], ending=End.CUT, cut_at=1), FaultKind.RESET),
        (events([b"a", b"b"], ending=End.RESET, gap_ms=1), FaultKind.RESET),
        (events([b"a", b"b"], ending=End.HALF_CHUNK), FaultKind.RESET),
        (events([b"a", b"b"], ending=End.GARBAGE), FaultKind.PROTOCOL),
        (Play(frames=(b"abc",), ending=End.CUT, cut_at=2), FaultKind.RESET),
        (Play(ending=End.GARBAGE, ending_after=0), FaultKind.PROTOCOL),
        (Play(frames=(b"x",), headers=(("content-encoding", "gzip"),)), FaultKind.PROTOCOL),
        (Play(headers=(("x", "y" * 70_000),)), FaultKind.PROTOCOL),
        (Play(raw=b"HTTP/1.1 200 OK\r\ncontent-le", ending=End.CUT), FaultKind.RESET),
    ],
)
async def test_each_way_of_failing_is_the_fault_it_should_be_and_the_next_call_is_fine(
    play: Play, kind: FaultKind
) -> None:
    async with Pair([play, None]) as pair:
        assert await pair.fault() is kind
        assert len(pair.server.log) == 1, "a request on a fresh connection was written twice"
        assert (await pair.post()).status == 200


async def test_an_answer_that_only_its_close_ends_is_clean() -> None:
    async with Pair([Play(frames=(b"to ", b"the end"), framing="close")]) as pair:
        assert await whole(await pair.post()) == b"to the end"


async def test_a_peer_that_cannot_be_reached_is_a_connect_fault() -> None:
    async with Pair() as pair:
        url = pair.server.base_url
        await pair.server.stop()
        with pytest.raises(Fault, match=r"cannot connect to 127\.0\.0\.1") as caught:
            await post(pair.transport, url)
        assert caught.value.kind is FaultKind.CONNECT


# Connections that were used before


async def test_a_pooled_connection_that_died_is_not_used_again() -> None:
    async with Pair() as pair:
        await whole(await pair.post())
        pair.server.drop()
        await until(lambda: list(pair.transport.sizes().values()) == [(0, 0)])
        await whole(await pair.post())
        assert (pair.server.connections, len(pair.server.log)) == (2, 2)


@pytest.mark.parametrize("end", [End.REFUSE, End.RESET])
async def test_a_lost_keep_alive_race_is_asked_again_once_on_a_fresh_connection(end: End) -> None:
    lost = Play(raw=b"", ending=end)
    async with Pair([None, lost, None], race_s=60) as pair:
        await whole(await pair.post())
        assert (await pair.post()).status == 200
        assert (pair.server.connections, len(pair.server.log)) == (2, 3)

    async with Pair([None, lost, lost, None], race_s=60) as pair:
        await whole(await pair.post())
        assert await pair.fault() is FaultKind.RESET
        assert len(pair.server.log) == 3


async def test_a_request_is_not_written_twice_when_the_close_came_too_late_to_be_a_race() -> None:
    async with Pair([None, Play(ending=End.REFUSE), None], race_s=0) as pair:
        await whole(await pair.post())
        assert await pair.fault() is FaultKind.RESET
        assert len(pair.server.log) == 2


async def test_a_request_is_not_written_twice_once_a_byte_of_an_answer_came() -> None:
    async with Pair([None, Play(raw=b"H", ending=End.CUT), None], race_s=60) as pair:
        await whole(await pair.post())
        assert await pair.fault() is FaultKind.RESET
        assert len(pair.server.log) == 2
