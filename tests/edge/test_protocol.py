"""What is not HTTP is told so in the envelope, and a head has an end: before any key was looked at.

Method: bytes on real sockets, whole and in small pieces, against a running gateway.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import pytest_asyncio

from faregate.edge.protocol import HEAD_BYTES_MAX, HEAD_S, REST_S, Protocol
from faregate.upstreams.script import stream
from tests.contract.answers import refused
from tests.contract.test_errors_at_the_door import MESSAGE
from tests.gateway import Gate, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECE = 4_096


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


async def say(gate: Gate, data: bytes, *, piece: int = PIECE) -> httpx2.Response:
    """Write in pieces until the gateway has had enough; read its answer."""
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        answer = asyncio.create_task(read(reader))
        for start in range(0, len(data), piece):
            if answer.done():
                break
            writer.write(data[start : start + piece])
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            return await answer
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader) -> httpx2.Response:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = httpx2.Headers([(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
    body = await reader.readexactly(int(headers["content-length"]))
    return httpx2.Response(int(first.split()[1]), headers=headers, content=body)


@pytest.mark.parametrize(
    "data",
    [b"NONSENSE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
     b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
     b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"],
)  # fmt: skip
async def test_what_is_not_http_is_told_so_in_the_envelope(gate: Gate, data: bytes) -> None:
    answer = await say(gate, data)

    refused(answer, 400, "invalid_request_error", "invalid_body")
    assert answer.headers["connection"] == "close"


def headed(size: int, *, lines: int = 1) -> bytes:
    fields = b"".join(b"x-%d: %b\r\n" % (line, b"a" * (size // lines)) for line in range(lines))
    return b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + fields + b"\r\n"


@pytest.mark.parametrize("lines", [1, 1_000])
async def test_a_head_without_end_is_refused_while_it_still_comes(gate: Gate, lines: int) -> None:
    endless = headed(HEAD_BYTES_MAX + 20 * PIECE, lines=lines).removesuffix(b"\r\n")
    answer = await say(gate, endless)

    assert f"{HEAD_BYTES_MAX} bytes" in refused(answer, 400, "invalid_request_error", "invalid_body")["message"]


@pytest.mark.parametrize("piece", [7, PIECE, HEAD_BYTES_MAX])
async def test_a_large_head_within_the_limit_is_read(gate: Gate, piece: int) -> None:
    assert (await say(gate, headed(HEAD_BYTES_MAX // 2), piece=piece)).status_code == 200


async def test_a_connection_that_was_refused_takes_no_second_request(gate: Gate) -> None:
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"NONSENSE\r\n\r\n")
    assert (await read(reader)).status_code == 400
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_each_request_of_a_connection_has_a_head_of_its_own(gate: Gate) -> None:
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    large = headed(HEAD_BYTES_MAX // 2).replace(b"connection: close\r\n", b"")
    for _ in range(4):
        for start in range(0, len(large), PIECE):
            writer.write(large[start : start + PIECE])
            await asyncio.sleep(0)
        assert (await read(reader)).status_code == 200
    writer.close()


async def test_who_sends_a_head_without_end_and_reads_only_then_still_reads_why(gate: Gate) -> None:
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    for _ in range(256):
        writer.write(b"x: " + b"a" * 65_536 + b"\r\n")
        await writer.drain()
    refused(await read(reader), 400, "invalid_request_error", "invalid_body")
    writer.close()


BODY = b'{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'


def chunked(trailers: bytes) -> bytes:
    return b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(BODY), BODY, trailers)


async def test_what_stands_behind_a_body_is_no_header(gate: Gate) -> None:
    key = (await gate.key()).encode()
    answer = await say(gate, b"POST /v1/messages HTTP/1.1\r\n" + chunked(b"x-api-key: %b\r\n" % key))

    refused(answer, 401, "authentication_error", "invalid_api_key")


async def test_a_trailer_does_not_say_where_a_call_comes_from(tmp_path: Path) -> None:
    async with running(tmp_path, toml='[server]\ntrusted_proxies = ["127.0.0.1"]\n') as gate:
        key = (await gate.key(allow_ips=("10.9.9.9",))).encode()
        head = b"POST /v1/messages HTTP/1.1\r\nx-api-key: %b\r\nx-forwarded-for: %b\r\n"
        answer = await say(gate, head % (key, b"192.0.2.7") + chunked(b"x-forwarded-for: 10.9.9.9\r\n"))

        assert "192.0.2.7" in refused(answer, 403, "permission_error", "ip_not_allowed")["message"]
        assert (await say(gate, head % (key, b"10.9.9.9") + chunked(b""))).status_code == 200


async def test_trailers_without_end_are_refused_while_they_still_come(gate: Gate) -> None:
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = (await gate.key()).encode()
    writer.write(b"POST /v1/messages HTTP/1.1\r\nx-api-key: %b\r\n" % key + chunked(b"").removesuffix(b"\r\n"))
    for _ in range(64):
        writer.write(b"x: " + b"a" * PIECE + b"\r\n")
        await asyncio.sleep(0)
    answer = await read(reader)
    assert "trailers are over" in refused(answer, 400, "invalid_request_error", "invalid_body")["message"]
    writer.close()


OFFERS = [b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEA\r\n",
          b"connection: upgrade\r\nupgrade: websocket\r\n"]  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("piece", [1, 100_000])
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_is_read(
    gate: Gate, offer: bytes, piece: int
) -> None:
    key = (await gate.key()).encode()
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: %b\r\n%bcontent-length: %d\r\n\r\n"
    answer = await say(gate, head % (key, offer, len(BODY)) + BODY, piece=piece)

    assert answer.status_code == 200
    assert answer.json()["type"] == "message"


@pytest.mark.parametrize("method", [b"POST", b"CONNECT"])
async def test_a_body_behind_an_offer_of_another_protocol_is_never_a_request(gate: Gate, method: bytes) -> None:
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    inner = b"GET /v1/pricing HTTP/1.1\r\nhost: x\r\n\r\n"
    writer.write(
        b"%b /v1/nothing HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (method, OFFERS[0], len(inner))
    )
    await asyncio.sleep(0)
    writer.write(inner + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        said = await reader.read()
    assert b"USD per million" not in said
    assert said.startswith(b"HTTP/1.1 404")
    assert (b'"ok"' in said) == (method == b"POST"), "after CONNECT nothing more is read"
    writer.close()


async def test_nonsense_behind_a_request_does_not_break_into_its_answer(tmp_path: Path) -> None:
    async with running(tmp_path, script=[stream(MESSAGE, gap_ms=20)]) as gate:
        url = httpx2.URL(gate.base_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        body = BODY.replace(b'"max_tokens":5', b'"max_tokens":50,"stream":true')
        head = b"POST /v1/messages HTTP/1.1\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % ((await gate.key()).encode(), len(body)) + body)
        first = await reader.readuntil(b"message_start")
        writer.write(b"NONSENSE\r\n\r\n")
        async with asyncio.timeout(20):
            rest = await reader.read()
        writer.close()
    assert first.startswith(b"HTTP/1.1 200") and b"HTTP/1.1" not in rest
    assert b"event: message_stop" in rest


async def test_a_head_has_ten_seconds_and_what_was_refused_has_a_minute_to_go() -> None:
    assert (Protocol.head_s, Protocol.rest_s) == (HEAD_S, REST_S) == (10, 60)


async def test_who_says_nothing_is_not_waited_for(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_s", 0.05)
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_a_head_that_does_not_come_to_its_end_is_408(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_s", 0.05)
    answer = await say(gate, b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    refused(answer, 408, "timeout_error", "body_timeout", retried=True)
    assert answer.headers["connection"] == "close"


async def test_who_was_refused_and_goes_on_sending_slowly_is_cut_off(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "rest_s", 0.5)
    url = httpx2.URL(gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    assert (await read(reader)).status_code == 401
    async with asyncio.timeout(20):
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            with contextlib.suppress(OSError):
                writer.write(b"x")
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionResetError):  # What still came when it was closed makes it a reset.
            assert await ended == b""
    writer.close()


async def test_the_clock_of_a_head_does_not_run_while_an_answer_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "head_s", 1.0)
    async with running(tmp_path, script=[stream(MESSAGE, gap_ms=150)]) as gate:
        assert (await gate.stream(await gate.key())).kinds[-1] == "message_stop"


async def test_a_caller_is_given_up_only_when_nothing_is_taken_between_two_looks() -> None:
    class Transport:
        """What asyncio would say of a socket whose reader takes something once, and then nothing."""

        unsent = iter([90_000, 70_000, 70_000, 70_000])
        aborted = asyncio.Event()

        def get_write_buffer_size(self) -> int:
            return next(self.unsent)

        def abort(self) -> None:
            self.aborted.set()

    protocol = Protocol.__new__(Protocol)
    protocol.loop, protocol.send_s = asyncio.get_running_loop(), 0
    protocol.transport = transport = cast(Any, Transport())
    protocol._wait_for_reader()
    await asyncio.wait_for(transport.aborted.wait(), 20)

    assert list(transport.unsent) == [], "it looked twice"
