"""The one HTTP client at its edges: deadlines, backpressure, leaving and closing, on real sockets and both loops."""

import asyncio
import gc

import pytest

from faregate.upstreams.connection import Connection
from faregate.upstreams.port import Fault, FaultKind
from faregate.upstreams.reply import UNREAD_BYTES_MAX, Timeouts
from faregate.upstreams.script import End, Play, events, frame
from tests.upstreams.asking import post, target, until, whole
from tests.upstreams.pair import LONG, Pair

TEXTS = events([frame("ping") for _ in range(50)])


# Deadlines


async def test_an_answer_that_never_begins_is_a_timeout() -> None:
    short = Timeouts(first_byte=0.05)
    for head in (b"", b"HTTP/1.1 200 OK\r\n"):
        async with Pair([Play(raw=head, ending=End.STALL)], timeouts=short) as pair:
            with pytest.raises(Fault, match=r"timeouts\.first_byte") as caught:
                await pair.post()
            assert caught.value.kind is FaultKind.TIMEOUT
            await until(lambda pair=pair: pair.server.log[0].hung_up)  # type: ignore[misc]


async def test_an_answer_that_falls_silent_is_a_timeout_after_what_came_was_read() -> None:
    async with Pair([events([b"a"], ending=End.STALL)], timeouts=Timeouts(idle=0.05)) as pair:
        reply = await pair.post()
        assert await reply.read() == b"a"
        with pytest.raises(Fault, match=r"timeouts\.idle") as caught:
            await reply.read()
        assert caught.value.kind is FaultKind.TIMEOUT


async def test_an_answer_that_drips_for_ever_is_a_timeout() -> None:
    drip = events([b"a"] * 100_000, gap_ms=1)
    async with Pair([drip], timeouts=Timeouts(idle=60, total=0.2)) as pair:
        with pytest.raises(Fault, match=r"timeouts\.total") as caught:
            await whole(await pair.post())
        assert caught.value.kind is FaultKind.TIMEOUT
        await until(lambda: pair.server.log[0].hung_up)


async def test_a_tls_peer_that_says_nothing_is_a_connect_fault() -> None:
    async with Pair(timeouts=Timeouts(connect=0.1)) as pair:
        mute = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = mute.sockets[0].getsockname()[1]
        with pytest.raises(Fault, match=r"timeouts\.connect") as caught:
            await post(pair.transport, f"https://127.0.0.1:{port}")
        assert caught.value.kind is FaultKind.CONNECT
        mute.close()
        await mute.wait_closed()


async def test_the_first_byte_of_one_call_may_have_its_own_deadline() -> None:
    async with Pair([Play(raw=b"", ending=End.STALL)], timeouts=LONG) as pair:
        origin, head = target(pair.server.base_url)
        # The ticker is as fine as the transport's own deadlines ask for: a quarter of a second here.
        with pytest.raises(Fault, match=r"within 0\.05 s"):
            await pair.transport.send(origin, head, b"{}", first_byte_s=0.05)


# Backpressure and leaving


async def test_a_reader_that_stalls_stalls_the_peer_and_loses_nothing() -> None:
    block = b"x" * 65_536
    async with Pair([events([block] * 1024)]) as pair:
        reply = await pair.post()
        seen = pair.server.log[0]
        written, steady = -1, 0
        while steady < 30:
            await asyncio.sleep(0.01)
            steady = steady + 1 if seen.bytes_written == written else 0
            written = seen.bytes_written
        assert written < 1024 * len(block) / 2, "everything was taken though nothing was read"
        assert len(await whole(reply)) == 1024 * len(block)
        assert (await pair.post()).status == 200
        assert pair.server.connections == 1, "a connection that had been paused is as good as another"


async def test_a_cancel_is_seen_by_the_peer_and_by_the_reader() -> None:
    async with Pair([events([b"a", b"b"], ending=End.STALL)]) as pair:
        reply = await pair.post()
        assert await reply.read()
        reading = asyncio.create_task(reply.read())
        await asyncio.sleep(0)
        reply.cancel()
        reply.cancel()
        with pytest.raises(Fault) as caught:
            await reading
        assert caught.value.kind is FaultKind.CANCELLED
        await until(lambda: pair.server.log[0].hung_up)


async def test_a_cancel_of_an_answer_that_is_paused_is_seen_by_the_peer() -> None:
    async with Pair([events([b"x" * 65_536] * 1024)]) as pair:
        reply = await pair.post()
        await asyncio.sleep(0.05)
        reply.cancel()
        await until(lambda: pair.server.log[0].hung_up)


async def test_a_cancel_after_the_end_leaves_the_connection_to_the_next() -> None:
    async with Pair() as pair:
        first = await pair.post()
        await whole(first)
        second = await pair.post()
        first.cancel()
        assert await whole(second)
        assert pair.server.connections == 1


async def test_a_caller_that_leaves_before_the_head_hangs_up() -> None:
    async with Pair([Play(raw=b"", ending=End.STALL)]) as pair:
        task = asyncio.create_task(pair.post())
        await until(lambda: bool(pair.server.log))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: pair.server.log[0].hung_up)


async def test_a_close_ends_everything_under_way_and_refuses_what_comes_after() -> None:
    stalled = [events([b"a"], ending=End.STALL), Play(raw=b"", ending=End.STALL)]
    async with Pair([None, *stalled]) as pair:
        await whole(await pair.post())
        reply = await pair.post()
        assert await reply.read() == b"a"
        waiting = asyncio.create_task(pair.post())
        await until(lambda: len(pair.server.log) == 3)
        await pair.transport.aclose()
        await pair.transport.aclose()
        for left in (reply.read(), waiting, pair.post()):
            with pytest.raises(Fault) as caught:
                await left
            assert caught.value.kind is FaultKind.CANCELLED
        assert list(pair.transport.sizes().values()) == [(0, 0)]


async def test_a_closed_transport_sends_nothing_to_any_origin_and_its_ticker_is_off() -> None:
    async with Pair() as pair:
        await pair.post()
        timer = pair.transport._timer
        assert timer is not None
        await pair.transport.aclose()
        assert list(pair.transport.sizes().values()) == [(0, 0)], "it came back before its sockets were closed"
        assert timer.cancelled()
        with pytest.raises(Fault) as caught:
            await post(pair.transport, "http://another.invalid")
        assert caught.value.kind is FaultKind.CANCELLED


async def test_a_connection_whose_last_answer_is_still_unread_serves_the_next() -> None:
    # All of it fits into what may lie unread: one byte more, and the socket is paused before the answer's end is seen.
    large = Play(frames=(b"x" * UNREAD_BYTES_MAX,))
    async with Pair([large, None]) as pair:
        unread = await pair.post()
        await until(lambda: list(pair.transport.sizes().values()) == [(1, 1)])
        assert await whole(await pair.post())
        assert len(await whole(unread)) == UNREAD_BYTES_MAX
        assert pair.server.connections == 1


async def test_a_peer_that_leaves_while_the_request_is_still_being_sent_is_noticed_at_once() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await finished.wait()
        writer.close()

    finished = asyncio.Event()
    async with Pair() as pair:
        server = await asyncio.start_server(leave, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(20):
            with pytest.raises(Fault) as caught:
                await post(pair.transport, f"http://127.0.0.1:{port}", b"x" * 32 * 1024 * 1024)
        assert caught.value.kind is FaultKind.RESET
        finished.set()
        server.close()
        await server.wait_closed()


async def test_a_close_ends_a_connection_attempt_too() -> None:
    async with Pair() as pair:
        mute = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = mute.sockets[0].getsockname()[1]
        dialling = asyncio.create_task(post(pair.transport, f"https://127.0.0.1:{port}"))
        await until(lambda: any(size for size, _ in pair.transport.sizes().values()))
        await pair.transport.aclose()
        with pytest.raises(Fault) as caught:
            await dialling
        assert caught.value.kind is FaultKind.CANCELLED
        mute.close()
        await mute.wait_closed()


async def test_a_closed_connection_is_freed_without_the_garbage_collector() -> None:
    def alive() -> int:
        return sum(isinstance(thing, Connection) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        async with Pair() as pair:
            await asyncio.gather(*(pair.post() for _ in range(5)))
            assert alive() == before + 5
            pair.server.drop()
            await until(lambda: pair.server.open_connections == 0 and alive() == before)
    finally:
        gc.enable()


async def test_an_answer_before_the_request_was_taken_is_read_and_its_connection_is_not_kept() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await finished.wait()
        writer.close()

    finished = asyncio.Event()
    async with Pair() as pair:
        server = await asyncio.start_server(early, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reply = await post(pair.transport, f"http://127.0.0.1:{port}", b"x" * 32 * 1024 * 1024)
        assert (reply.status, await whole(reply)) == (413, b"no")
        await until(lambda: (0, 0) in pair.transport.sizes().values())
        finished.set()
        server.close()
        await server.wait_closed()
