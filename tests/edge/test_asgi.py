"""The door hands calls to the story and all else to the API, reads a body within its bounds, and tells who is calling.

Method: the ASGI conversation spoken by hand, message by message; over real sockets the same is said in tests/contract.
"""

import asyncio
import ipaddress
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMedia
from faregate.edge.asgi import LINE, AsgiCaller, Door, Intake, Message, client_address
from faregate.proxy.verdict import CallerGone
from tests.gateway import ASK, running

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PROXIES: tuple[Network, ...] = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


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

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


def part(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def calling(wire: Wire, *headers: tuple[bytes, bytes], **bounds: Any) -> AsgiCaller:
    return AsgiCaller(scope(*headers), wire.receive, wire.send, Intake(**bounds), "req_1")


@pytest.mark.parametrize("parts", [[b"whole"], [b"wh", b"ole"], [b"", b"whole", b""]])
async def test_a_body_is_put_together_from_its_parts(parts: list[bytes]) -> None:
    wire = Wire(*(part(data, more=True) for data in parts[:-1]), part(parts[-1]))

    assert await calling(wire).body() == b"whole"


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert await calling(Wire(part(b"12345")), body_bytes_max=5).body() == b"12345"
    with pytest.raises(BodyTooLarge, match="limit of 5 bytes"):
        await calling(Wire(part(b"123", more=True), part(b"456", more=True)), body_bytes_max=5).body()


async def test_an_announced_length_over_the_limit_is_refused_before_a_byte_is_read() -> None:
    wire = Wire()
    with pytest.raises(BodyTooLarge):
        await calling(wire, (b"content-length", b"6"), body_bytes_max=5).body()


async def test_a_body_that_does_not_come_in_time_is_refused_and_its_connection_closed() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s") as raised:
        await calling(Wire(part(b"{", more=True)), body_timeout_s=0.01).body()
    assert (b"connection", b"close") in raised.value.headers


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"gzip, identity", b"x" * 500])
async def test_a_compressed_body_is_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"content-encoding: .{1,80}$"):
        await calling(Wire(part(b"{}")), (b"content-encoding", encoding)).body()


@pytest.mark.parametrize("encoding", [b"identity", b"Identity ", b""])
async def test_a_body_as_it_is_may_say_so(encoding: bytes) -> None:
    assert await calling(Wire(part(b"{}")), (b"content-encoding", encoding)).body() == b"{}"


async def test_who_leaves_while_sending_has_gone() -> None:
    wire = Wire(part(b"{", more=True))
    wire.left.set()
    caller = calling(wire)
    with pytest.raises(CallerGone):
        await caller.body()
    assert caller.gone


async def test_who_leaves_later_is_noticed_once_by_each_who_asked() -> None:
    wire = Wire(part(b"{}"))
    caller = calling(wire)
    await caller.body()
    told: list[int] = []
    noticed = asyncio.Event()
    caller.on_gone(lambda: told.append(1))
    caller.on_gone(noticed.set)
    assert not caller.gone

    wire.left.set()
    await asyncio.wait_for(noticed.wait(), 5)
    assert told == [1] and caller.gone
    caller.on_gone(lambda: told.append(2))
    assert told == [1, 2], "who asks too late is told at once"


class Connection:
    """A connection of our own server, which tells of its loss."""

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] | None = None
        self.lost = False


def on(line: Connection) -> AsgiCaller:
    wire = Wire(part(b"{}"))
    return AsgiCaller({**scope(), "state": {LINE: line}}, wire.receive, wire.send, Intake(), "req_1")


async def test_a_lost_connection_of_our_own_server_is_told_without_a_task() -> None:
    line, told = Connection(), list[int]()
    caller = on(line)
    caller.on_gone(lambda: told.append(1))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert line.on_lost is not None

    line.on_lost()
    assert told == [1] and caller.gone


async def test_a_connection_that_was_lost_before_anybody_asked_is_told_at_once() -> None:
    line, told = Connection(), list[int]()
    line.lost = True
    caller = on(line)
    caller.on_gone(lambda: told.append(1))

    assert told == [1] and caller.gone


async def test_the_end_of_an_answer_is_not_taken_for_a_hang_up() -> None:
    wire = Wire(part(b"{}"))
    caller = calling(wire)
    await caller.body()
    told: list[int] = []
    caller.on_gone(lambda: told.append(1))
    await caller.answer(200, [], b"done")
    wire.left.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert told == [] and not caller.gone


async def test_an_answer_carries_its_length_and_our_request_id() -> None:
    wire = Wire()
    await calling(wire).answer(200, [(b"x-one", b"1")], b"body")

    assert wire.status == 200
    assert wire.sent[0]["headers"] == [(b"x-one", b"1"), (b"content-length", b"4"), (b"request-id", b"req_1")]
    assert wire.body == b"body"


async def test_a_refusal_before_the_stream_is_an_answer_and_within_it_the_one_event_that_ends_it() -> None:
    before, within = Wire(), Wire()
    await calling(before).refuse(InvalidRequest("No."))
    caller = calling(within)
    await caller.start([])
    await caller.send(b"event: x\n\n")
    await caller.refuse(InvalidRequest("No."))

    assert before.status == 400
    assert within.status == 200
    name, data, *_ = within.sent[-1]["body"].decode().split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == json.loads(before.body)
    assert not within.sent[-1].get("more_body"), "nothing follows it"


def address(peer: str, *forwarded: str, trusted: tuple[Network, ...] = PROXIES) -> str:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    return client_address({**scope(*headers), "client": (peer, 1)}, dict(headers), trusted)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.1", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["unknown"], "unknown"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "unknown"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_clients_address_is_the_last_that_no_trusted_proxy_vouches_for(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert address(peer, *forwarded) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert address("10.0.0.1", "198.51.100.1", trusted=()) == "10.0.0.1"


def test_a_client_without_an_address_has_none() -> None:
    assert client_address({**scope(), "client": None}, {}, ()) == ""


async def test_calls_go_to_the_story_and_all_else_to_the_api(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def api(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["path"]))

    async with running(tmp_path) as gate:
        door = Door(gate.running.gate, Intake(), api)
        wire = Wire(part(json.dumps(ASK).encode()))
        await door(scope((b"x-api-key", (await gate.key()).encode())), wire.receive, wire.send)
        assert wire.status == 200
        for method, path in (("GET", "/v1/messages"), ("POST", "/v1/messages/quote"), ("POST", "/v1/messages/")):
            await door(scope(path=path, method=method), wire.receive, wire.send)
    assert seen == [("GET", "/v1/messages"), ("POST", "/v1/messages/quote"), ("POST", "/v1/messages/")]


async def test_a_door_is_quiet_when_the_last_call_has_ended(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        door = Door(gate.running.gate, Intake(), Wire().send)  # type: ignore[arg-type]  # the API is not asked
        await asyncio.wait_for(door.quiet(), 5)

        wire = Wire(part(b"{", more=True))
        call = asyncio.create_task(door(scope((b"x-api-key", (await gate.key()).encode())), wire.receive, wire.send))
        await asyncio.sleep(0)
        quiet = asyncio.create_task(door.quiet())
        await asyncio.sleep(0)
        assert not quiet.done()
        wire.left.set()
        await asyncio.wait_for(quiet, 5)
        await call


async def test_a_websocket_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        wire = Wire()
        await gate.running.door({"type": "websocket"}, wire.receive, wire.send)
    assert wire.sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_stop_does_not_replace_a_last_word_that_was_on_its_way(is_stream: bool) -> None:  # noqa: FBT001
    wire, reads = Wire(), asyncio.Event()

    async def send(message: Message) -> None:
        if len(wire.sent) == (1 if is_stream else 0):
            await reads.wait()  # A caller who does not read, for whom the server waits before it sends.
        await wire.send(message)

    caller = AsgiCaller(scope(), wire.receive, send, Intake(), "req_1")
    if is_stream:
        await caller.start([])
    ending = asyncio.create_task(caller.end(b"the end") if is_stream else caller.answer(200, [], b"the end"))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    reads.set()
    await caller.cut_off()

    assert [message["type"] for message in wire.sent] == ["http.response.start", "http.response.body"]
    assert wire.sent[0]["status"] == 200 and wire.sent[1]["body"] == b"the end"
