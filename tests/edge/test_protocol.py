"""What is not HTTP is told so in the envelope, and a head has an end: before any key was looked at.

Method: bytes on real sockets, whole and in small pieces, against a running gateway.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from faregate.edge.protocol import HEAD_BYTES_MAX
from tests.contract.answers import refused
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
