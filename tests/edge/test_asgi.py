"""The door hands calls to the story and all else to the API.

Method: the ASGI conversation spoken by hand, message by message, and calls on a played connection; over real sockets
the same is said in tests/contract.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import BodyTimeout, BodyTooLarge, UnsupportedMedia
from faregate.edge.asgi import AsgiCaller, Door, Message
from faregate.edge.intake import Intake
from faregate.proxy.verdict import CallerGone
from tests.edge.line import PlayedLine
from tests.gateway import ASK, Gate, running


def scope(*headers: tuple[bytes, bytes], path: str = "/v1/messages", method: str = "POST") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": list(headers),
            "client": ("192.0.2.1", 5), "http_version": "1.1", "scheme": "http", "root_path": ""}  # fmt: skip


class Wire:
    """The server's side of the conversation: what it hands in, and what it was sent."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.sent: list[Message] = []
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def part(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def asking(wire: Wire, *headers: tuple[bytes, bytes], **bounds: Any) -> AsgiCaller:
    return AsgiCaller(scope(*headers), wire.receive, Intake(**bounds), "req_1")


@pytest.mark.parametrize("parts", [[b"whole"], [b"wh", b"ole"], [b"", b"whole", b""]])
async def test_a_body_is_put_together_from_its_parts(parts: list[bytes]) -> None:
    wire = Wire(*(part(data, more=True) for data in parts[:-1]), part(parts[-1]))

    assert await asking(wire).body() == b"whole"


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert await asking(Wire(part(b"12345")), body_bytes_max=5).body() == b"12345"
    with pytest.raises(BodyTooLarge, match="limit of 5 bytes"):
        await asking(Wire(part(b"123", more=True), part(b"456", more=True)), body_bytes_max=5).body()


async def test_a_body_is_judged_by_its_head_first() -> None:
    with pytest.raises(UnsupportedMedia):
        await asking(Wire(), (b"content-encoding", b"gzip")).body()


async def test_a_body_that_does_not_come_in_time_is_refused_and_its_connection_closed() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s") as raised:
        await asking(Wire(part(b"{", more=True)), body_timeout_s=0.01).body()
    assert (b"connection", b"close") in raised.value.headers


async def test_who_leaves_while_sending_has_gone() -> None:
    wire = Wire(part(b"{", more=True))
    wire.left.set()
    with pytest.raises(CallerGone):
        await asking(wire).body()


async def test_what_asgi_brings_goes_to_the_api(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def api(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["path"]))

    async with running(tmp_path) as gate:
        door = Door(gate.running.gate, Intake(), api)
        wire = Wire()
        for method, path in (("GET", "/v1/messages"), ("POST", "/v1/messages/quote"), ("GET", "/readyz")):
            await door(scope(path=path, method=method), wire.receive, wire.send)
        assert seen == [("GET", "/v1/messages"), ("POST", "/v1/messages/quote"), ("GET", "/readyz")]


async def test_a_gateway_that_stops_is_not_ready_and_still_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        wire, door = Wire(), gate.running.door
        door.stop()
        await door(scope(path="/readyz", method="GET"), wire.receive, wire.send)

        assert wire.sent[0]["status"] == 503
        assert json.loads(wire.sent[1]["body"])["error"]["details"]["error_code"] == "shutting_down"


async def called(gate: Gate, door: Door, *, whole: bool) -> tuple[PlayedLine, Any]:
    line = PlayedLine()
    call = door.call(line, [(b"x-api-key", (await gate.key()).encode())])
    call.take(json.dumps(ASK).encode())
    call.more_body = not whole
    return line, call


async def test_a_call_is_served_by_the_story(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        line, call = await called(gate, gate.running.door, whole=True)
        await gate.running.door.serve(call)

        assert line.said.status == 200 and json.loads(line.said.body)["type"] == "message"


async def test_a_door_is_quiet_when_the_last_call_has_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        door = gate.running.door
        await asyncio.wait_for(door.quiet(), 5)

        line, call = await called(gate, door, whole=False)
        serving = asyncio.create_task(door.serve(call))
        await asyncio.sleep(0)
        quiet = asyncio.create_task(door.quiet())
        await asyncio.sleep(0)
        assert not quiet.done() and door.open_calls == 1
        line.lose(call)
        await asyncio.wait_for(quiet, 5)
        await serving


async def test_a_websocket_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        wire = Wire()
        await gate.running.door({"type": "websocket"}, wire.receive, wire.send)
    assert wire.sent == [{"type": "websocket.close", "code": 1000}]
