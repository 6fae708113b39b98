"""CONTRACT 6, the rows that a well-behaved client never sees: bodies that are late, huge or broken off, faults of ours.

Method: raw sockets where the bytes are the subject; for a fault of ours, an upstream of the port that breaks.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from faregate import app
from faregate.edge.api import Api
from faregate.edge.asgi import Door
from faregate.edge.intake import Intake
from faregate.edge.listen import listen
from faregate.stopping import Server
from faregate.telemetry import CONTENT_TYPE, Telemetry
from faregate.upstreams.port import Answer, Ask
from faregate.upstreams.script import End, stream
from tests.contract.answers import refused, untouched
from tests.gateway import ASK, Gate, ask, running

MESSAGE = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "words that come one after another"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 7},
}


async def say(gate: Gate, data: bytes, *, to: str | None = None) -> bytes:
    """Write bytes and read until the gateway closes."""
    url = httpx2.URL(to or gate.base_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def request(key: str, *headers: str, path: str = "/v1/messages") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: gate", f"x-api-key: {key}", *headers, "", ""]).encode()


def read(data: bytes) -> httpx2.Response:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx2.Response(int(first.split()[1]), headers=headers, content=body)


async def test_408_for_a_body_that_does_not_come_and_the_connection_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, toml="[server]\nbody_timeout_s = 0.2\n") as gate:
        key = await gate.key()
        async with untouched(gate):
            for path in ("/v1/messages", "/v1/messages/quote"):
                answer = read(await say(gate, request(key, "content-length: 50", path=path) + b'{"model": '))
                error = refused(answer, 408, "timeout_error", "body_timeout", retried=True)
                assert answer.headers["connection"] == "close"
                assert "0.2 s" in error["message"]


async def test_413_for_a_body_over_the_limit_announced_or_not(tmp_path: Path) -> None:
    async with running(tmp_path, toml="[server]\nbody_bytes_max = 2048\n") as gate:
        key = await gate.key()
        chunked = b"%x\r\n%b\r\n" % (3000, b"x" * 3000)
        async with untouched(gate):
            for path in ("/v1/messages", "/v1/messages/count_tokens"):
                last = "connection: close"
                announced = read(await say(gate, request(key, last, "content-length: 2049", path=path)))
                grown = read(await say(gate, request(key, last, "transfer-encoding: chunked", path=path) + chunked))
                for answer in (announced, grown):
                    error = refused(answer, 413, "request_too_large", "request_too_large")
                    assert "2048 bytes" in error["message"]


async def test_who_sends_too_much_reads_why_and_not_a_reset(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        body = b'{"model": "' + b"x" * (33 * 1024 * 1024)
        async with untouched(gate):
            for path in ("/v1/messages", "/v1/messages/quote"):
                refused(await gate.post(path, key, body), 413, "request_too_large", "request_too_large")
            packed = await gate.message(key, body, content_encoding="gzip")
            refused(packed, 415, "invalid_request_error", "request_body_encoding_unsupported")
            refused(await gate.message("stranger", body), 401, "authentication_error", "invalid_api_key")


async def test_a_body_of_just_the_limit_is_read(tmp_path: Path) -> None:
    async with running(tmp_path, toml="[server]\nbody_bytes_max = 2048\n") as gate:
        body = msgspec.json.encode(ASK)
        answer = await gate.message(await gate.key(), body + b" " * (2048 - len(body)))
        assert answer.status_code == 200


class Broken:
    """An upstream of the port with a fault in its code."""

    name = "broken"
    embedded = False

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, ask: Ask) -> Answer:
        raise ZeroDivisionError("a secret of ours")

    async def count_tokens(self, ask: Ask) -> int | None:
        raise ZeroDivisionError("a secret of ours")

    def healthy(self) -> bool:
        raise ZeroDivisionError("a secret of ours")


@contextlib.asynccontextmanager
async def with_a_fault(gate: Gate) -> AsyncIterator[httpx2.AsyncClient]:
    """A second door of the same gateway, whose one upstream is broken."""
    broken = msgspec.structs.replace(gate.running.gate, upstreams={"fake": Broken()})
    intake = Intake()
    api = Api(broken, intake, metrics=Telemetry().render, metrics_type=CONTENT_TYPE)
    with listen("127.0.0.1", 0, setting="server") as listener:
        server = Server(Door(broken, intake, api.app()), listener, drain_s=60)
        serving = asyncio.create_task(server.serve())
        try:
            async with httpx2.AsyncClient(base_url=app.base_url(listener), timeout=30, trust_env=False) as client:
                yield client
        finally:
            server.should_exit = True
            await serving


async def test_500_for_a_fault_of_ours_says_nothing_of_it_and_bills_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        headers = {"x-api-key": await gate.key()}
        async with untouched(gate), with_a_fault(gate) as client:
            answers = [
                await client.post("/v1/messages", headers=headers, json=ASK),
                await client.post("/v1/messages", headers=headers, json=ask(stream=True)),
                await client.post("/v1/messages/count_tokens", headers=headers, json=ASK),
                await client.get("/readyz"),
            ]
        for answer in answers:
            refused(answer, 500, "api_error", "internal", retried=True)
            assert "secret" not in answer.text and "ZeroDivision" not in answer.text


async def test_a_connection_on_which_a_fault_of_ours_was_told_takes_the_next_request(tmp_path: Path) -> None:
    """Closed on without a word, it would lose whatever its caller sends next."""
    async with running(tmp_path) as gate, with_a_fault(gate) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n")
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n")
        heard = await asyncio.wait_for(reader.read(), 30)
        writer.close()

    assert re.findall(rb"HTTP/1.1 (\d+)", heard) == [b"500", b"200"]


async def test_409_while_the_same_call_is_in_flight(tmp_path: Path) -> None:
    async with running(tmp_path, script=[stream(MESSAGE, gap_ms=5_000)]) as gate:
        key = await gate.key()
        headers = {"x-api-key": key, "idempotency-key": "once"}
        body = ask(stream=True)
        async with gate.client.stream("POST", "/v1/messages", headers=headers, json=body) as first:
            assert first.status_code == 200
            again = await gate.client.post("/v1/messages", headers=headers, json=body)
            error = refused(again, 409, "conflict_error", "idempotency_in_flight", retried=True, wait=True)
            assert error["details"]["id"].startswith("msg_")


async def test_502_when_there_is_no_upstream_to_connect_to_and_then_we_are_not_ready(tmp_path: Path) -> None:
    async with running(tmp_path, toml="[retry]\nattempts_max = 3\n") as gate:
        key = await gate.key()
        assert (await gate.get("/readyz")).status_code == 200
        await gate.upstream.stop()
        async with untouched(gate):
            answer = await gate.message(key)
            error = refused(answer, 502, "api_error", "upstream_error", retried=True, wait=True)
        assert [attempt["error"] for attempt in error["details"]["retry"]["attempts"]] == ["connect"] * 3
        assert gate.upstream.base_url.rpartition(":")[2] not in answer.text

        unready = refused(await gate.get("/readyz"), 503, "api_error", "no_upstream", retried=True)
        assert unready["details"]["upstreams"] == {"fake": False}
        assert unready["details"]["breakers"] == {"fake": "open"}
        assert (await gate.get("/healthz")).status_code == 200


async def test_a_stream_that_breaks_ends_in_one_error_event_and_costs_nothing(tmp_path: Path) -> None:
    cut = msgspec.structs.replace(stream(MESSAGE), ending=End.CUT, ending_after=4)
    async with running(tmp_path, script=[cut]) as gate:
        key = await gate.key()
        async with untouched(gate, calls=1):
            streamed = await gate.stream(key)
        assert streamed.status_code == 200
        *_, last = streamed.events
        assert streamed.kinds.count("error") == 1 and "message_stop" not in streamed.kinds
        assert (last["error"]["type"], last["error"]["details"]["error_code"]) == ("api_error", "upstream_error")
        assert last["request_id"] == streamed.headers["request-id"]
        receipt = await gate.receipt(key, streamed.id)
        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "upstream_error", "0")


async def test_who_hangs_up_while_sending_leaves_no_trace_and_no_alarm(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        url = httpx2.URL(gate.base_url)
        async with untouched(gate):
            for path in ("/v1/messages", "/v1/messages/quote", "/v1/messages/count_tokens"):
                _, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(request(key, "content-length: 50", path=path) + b"{")
                await writer.drain()
                writer.close()
    # The gateway stops when the last of its requests has ended.
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines == []
