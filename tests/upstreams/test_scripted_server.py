"""The scripted server plays what it was given, notes what it saw, and keeps out of the way of what is measured."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from faregate.upstreams.script import End, Play, Seen, events, frame, plain
from faregate.upstreams.scripted_server import ScriptedServer
from tests.upstreams.asking import until


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    await server.start()
    yield server
    await server.stop()


class Client:
    """A raw client: what it reads is what was written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def post(self, body: bytes = b"{}", path: str = "/v1/messages") -> None:
        self.writer.write(
            b"POST %b HTTP/1.1\r\nHost: x\r\nX-Tag: t\r\ncontent-length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )

    async def exactly(self, data: bytes) -> None:
        assert await self.reader.readexactly(len(data)) == data

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def connect(server: ScriptedServer) -> Client:
    host, port = server.base_url.removeprefix("http://").split(":")
    return Client(*await asyncio.open_connection(host, int(port)))


async def test_a_list_is_played_in_order_and_then_the_ordinary_answer(server: ScriptedServer) -> None:
    first, second = plain({"n": 1}), plain({"n": 2})
    server.play([first, None, second])
    client = await connect(server)
    ordinary = Play(status=400).whole[:12]
    for expected in (first.whole, None, second.whole, None):
        client.post()
        if expected is not None:
            await client.exactly(expected)
        else:
            await client.exactly(ordinary)
            await client.reader.readuntil(b'"req_scripted"}')
    await client.close()
    assert server.connections == 1


async def test_a_function_sees_the_request_and_chooses(server: ScriptedServer) -> None:
    def choose(seen: Seen) -> Play:
        return plain({"path": seen.path, "tag": seen.headers["x-tag"], "got": seen.document})

    server.play(choose)
    client = await connect(server)
    client.post(b'{"a":1}', "/v1/messages?beta=true")
    assert (await client.reader.readuntil(b"}}")).endswith(b'{"path":"/v1/messages?beta=true","tag":"t","got":{"a":1}}')
    await client.close()


async def test_every_request_is_noted_with_its_times_and_the_log_is_bounded() -> None:
    server = ScriptedServer(lambda seen: plain({}), seen_max=3)
    await server.start()
    client = await connect(server)
    for number in range(5):
        client.post(b"%d" % number)
        await client.reader.readuntil(b"{}")
    assert [(seen.index, seen.body) for seen in server.log] == [(2, b"2"), (3, b"3"), (4, b"4")]
    for seen in server.log:
        assert seen.method == "POST"
        assert seen.ended_at is not None
        assert seen.ended_at >= seen.at
        assert not seen.hung_up
    await client.close()
    await server.stop()


async def test_who_leaves_in_the_middle_is_noted_with_how_far_it_got(server: ScriptedServer) -> None:
    server.play([events([frame("ping")] * 3, ending=End.STALL, gap_ms=1)])
    client = await connect(server)
    client.post()
    for _ in range(3):
        await client.reader.readuntil(b'"ping"}\n\n')
    await client.close()
    await until(lambda: server.log[0].hung_up)
    assert server.log[0].frames_written == 3
    assert server.log[0].ended_at is not None


async def test_a_half_written_request_is_no_request(server: ScriptedServer) -> None:
    client = await connect(server)
    client.writer.write(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf")
    await client.writer.drain()
    await client.close()
    await until(lambda: server.open_connections == 0)
    assert not server.log


async def test_what_is_not_http_is_hung_up_on(server: ScriptedServer) -> None:
    client = await connect(server)
    client.writer.write(b"\x00\x01\x02 nonsense\r\n\r\n")
    assert await client.reader.read() == b""
    await client.close()


async def test_a_stop_closes_what_is_busy_and_what_is_idle_and_may_be_repeated(server: ScriptedServer) -> None:
    server.play([events([b"x"], ending=End.STALL)])
    busy, idle = await connect(server), await connect(server)
    busy.post()
    await until(lambda: bool(server.log) and server.open_connections == 2)
    await server.stop()
    await server.stop()
    assert server.open_connections == 0
    assert server.log[0].hung_up
    await asyncio.gather(busy.close(), idle.close(), return_exceptions=True)


async def test_pieces_are_written_in_order_whatever_their_size_and_pace(server: ScriptedServer) -> None:
    big, paced = events([bytes([number]) * 60_000 for number in range(40)]), events([b"a", b"b", b"c"], gap_ms=2)
    slow = events([b"z"], head_delay_ms=2)
    server.play([big, paced, slow])
    client = await connect(server)
    for play in (big, paced, slow):
        client.post()
        await client.exactly(play.whole)
    assert [seen.frames_written for seen in server.log] == [40, 3, 1]
    assert [seen.bytes_written for seen in server.log] == [len(play.whole) for play in (big, paced, slow)]
    await client.close()
