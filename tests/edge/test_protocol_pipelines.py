"""Requests that stand behind one that is being answered: so many and no more, and none breaks into its answer.

Method: bytes on real sockets against a running gateway.
"""

import asyncio
import contextlib
from pathlib import Path

import httpx2

from faregate.edge.protocol import PIPELINE_MAX
from faregate.upstreams.script import stream
from tests.contract.test_errors_at_the_door import MESSAGE
from tests.edge.test_protocol import BODY
from tests.gateway import running


async def test_only_so_many_requests_may_wait_behind_one(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        url = httpx2.URL(gate.base_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"POST /v1/messages HTTP/1.1\r\n\r\n" * 2_000)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(20):
                while piece := await reader.read(65_536):
                    said += piece
        writer.close()

        assert 1 <= said.count(b"HTTP/1.1 401") <= PIPELINE_MAX + 1


async def test_a_body_that_breaks_off_behind_a_stream_does_not_break_into_it(tmp_path: Path) -> None:
    async with running(tmp_path, script=[stream(MESSAGE, gap_ms=20)]) as gate:
        url = httpx2.URL(gate.base_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        key = (await gate.key()).encode()
        body = BODY.replace(b'"max_tokens":5', b'"max_tokens":50,"stream":true')
        head = b"POST /v1/messages HTTP/1.1\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (key, len(body)) + body)
        first = await reader.readuntil(b"message_start")
        writer.write(b"POST /v1/messages HTTP/1.1\r\nx-api-key: %b\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\n" % key)
        async with asyncio.timeout(20):
            rest = await reader.read()
        writer.close()
    assert first.startswith(b"HTTP/1.1 200") and b"HTTP/1.1" not in rest
    assert b"event: message_stop" in rest and rest.endswith(b"0\r\n\r\n")
