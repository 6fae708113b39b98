"""The relay passes whole frames as they come and ends with upstream or with the caller, whichever is first.

Method: a reply that is fed by hand, a stream over it, and a caller whose server remembers what it was sent.
"""

import asyncio
from typing import cast

import pytest

from faregate.core.meter import Meter, Progress
from faregate.core.stream import Stream
from faregate.proxy import relay
from faregate.proxy.attempts import Reply as Good
from faregate.proxy.relay import PING
from faregate.upstreams.port import FaultKind, Upstream
from faregate.upstreams.reply import Reply
from faregate.upstreams.script import error_frame, frames_of
from tests.contract.riders import message, until
from tests.proxy.standing import Server, answer

FRAMES = frames_of(message("One two", input_tokens=5, output_tokens=9))
NOBODY = cast(Upstream, None)


async def opened(*pieces: bytes, whole: bool = True) -> tuple[Server, Good, Reply]:
    """A stream whose message_start has come, at a caller to whom the head has gone."""
    reply, _ = answer(200, *pieces, whole=whole)
    stream = Stream(message_id="msg_ours", model="asked", meter=Meter())
    first = stream.feed(FRAMES[0])
    server = Server()
    await server.caller.start([])
    return server, Good(upstream=NOBODY, answer=reply, meter=stream.meter, stream=stream, first=first), reply


async def test_it_ends_with_upstreams_end_and_keeps_the_end_back() -> None:
    server, good, _ = await opened(*FRAMES[1:])
    await relay.relay(server.caller, good)

    assert good.meter.progress is Progress.COMPLETE
    assert server.body.endswith(FRAMES[-2]) and b"msg_ours" in server.body
    assert good.stream is not None and good.stream.tail == FRAMES[-1]


@pytest.mark.parametrize("last", [(), (error_frame(),), (b"event: x\ndata: {\n\n",)])
async def test_a_stream_that_ends_badly_has_failed_and_none_of_its_error_has_passed(last: tuple[bytes, ...]) -> None:
    server, good, _ = await opened(*FRAMES[1:4], *last)
    await relay.relay(server.caller, good)

    assert good.meter.progress is Progress.FAILED
    assert good.stream is not None and good.stream.fault is not None
    assert b"error" not in server.body


async def test_a_broken_connection_fails_the_stream() -> None:
    server, good, reply = await opened(*FRAMES[1:4], whole=False)
    reply.fail(FaultKind.RESET, "gone")
    await relay.relay(server.caller, good)

    assert good.meter.progress is Progress.FAILED


async def test_a_caller_who_leaves_ends_it_without_a_fault() -> None:
    server, good, reply = await opened(*FRAMES[1:4], whole=False)
    server.caller.on_gone(reply.cancel)
    relaying = asyncio.create_task(relay.relay(server.caller, good))
    await until(lambda: server.body.endswith(FRAMES[3]))
    await server.hang_up()
    await relaying

    assert good.meter.progress is Progress.RUNNING
    assert good.stream is not None and good.stream.fault is None


async def test_it_reads_no_further_for_a_caller_who_has_left() -> None:
    server, good, _ = await opened(*FRAMES[1:])
    await server.hang_up()
    await relay.relay(server.caller, good)

    assert good.meter.progress is Progress.RUNNING
    assert b"content_block" not in server.body


async def test_who_does_not_keep_up_is_not_fed_until_they_do() -> None:
    server, good, reply = await opened(whole=False)
    server.line.flow.pause_writing()
    relaying = asyncio.create_task(relay.relay(server.caller, good))
    await asyncio.sleep(0)
    for frame in FRAMES[1:]:
        reply.take_body(frame)
        await asyncio.sleep(0)
    reply.end()
    assert FRAMES[1] not in server.body and not relaying.done()
    server.line.flow.resume_writing()
    await relaying

    assert good.meter.progress is Progress.COMPLETE
    assert server.body.endswith(b"".join(FRAMES[1:-1]))


async def test_who_falls_behind_within_a_stream_is_fed_no_further() -> None:
    server, good, reply = await opened(whole=False)
    relaying = asyncio.create_task(relay.relay(server.caller, good))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.line.flow.pause_writing()
    for frame in FRAMES[1:4]:
        reply.take_body(frame)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert FRAMES[2] not in server.body, "one piece is on its way when it is seen, and not two"
    server.line.flow.resume_writing()
    for frame in FRAMES[4:]:
        reply.take_body(frame)
    reply.end()
    await relaying
    assert server.body.endswith(b"".join(FRAMES[1:-1]))


async def test_a_silence_is_filled_with_pings_and_the_pings_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PING_S", 0.005)
    server, good, reply = await opened(whole=False)
    relaying = asyncio.create_task(relay.relay(server.caller, good))
    await until(lambda: server.body.count(PING) >= 2)
    for frame in FRAMES[1:]:
        reply.take_body(frame)
    reply.end()
    await relaying
    said = len(server.line.written)
    await asyncio.sleep(0.03)

    assert server.body.replace(PING, b"").endswith(b"".join(FRAMES[1:-1]))
    assert len(server.line.written) == said, "nobody pings a stream that has ended"


async def test_who_does_not_keep_up_is_not_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PING_S", 0.005)
    server, good, reply = await opened(whole=False)
    server.line.flow.pause_writing()
    relaying = asyncio.create_task(relay.relay(server.caller, good))
    await asyncio.sleep(0.03)
    assert PING not in server.body
    server.line.flow.resume_writing()
    reply.end()
    await relaying
