"""A call reads its body within its bounds, writes its answer in as few pieces as it has parts, and knows who has left.

Method: a played connection that remembers what was written; over real sockets the same is said in tests/contract.
"""

import asyncio
import json
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from faregate.core.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedMedia
from faregate.edge.call import Call
from faregate.edge.intake import Intake
from faregate.proxy.verdict import CallerGone
from tests.edge.line import PlayedLine


def calling(*headers: tuple[bytes, bytes], line: PlayedLine | None = None, **bounds: Any) -> Call:
    return Call(line or PlayedLine(), headers, Intake(**bounds), "req_1")


def ended(call: Call) -> None:
    """The body has come to its end, as the protocol tells it."""
    call.more_body = False
    call.message_event.set()


async def until_it_waits(task: "asyncio.Task[Any]") -> None:
    await asyncio.sleep(0)
    assert not task.done()


@pytest.mark.parametrize("parts", [[b"whole"], [b"wh", b"ole"], [b"", b"whole", b""]])
@pytest.mark.parametrize("early", [True, False], ids=["before it is asked for", "after"])
async def test_a_body_is_put_together_from_its_parts(parts: list[bytes], early: bool) -> None:  # noqa: FBT001
    call = calling()
    if early:
        for data in parts:
            call.take(data)
        ended(call)
        assert await call.body() == b"whole"
        return
    reading = asyncio.create_task(call.body())
    for data in parts:
        await until_it_waits(reading)
        call.take(data)
    await until_it_waits(reading)
    ended(call)
    assert await reading == b"whole"


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    call = calling(body_bytes_max=5)
    call.take(b"12345")
    ended(call)
    assert await call.body() == b"12345"

    call = calling(body_bytes_max=5)
    reading = asyncio.create_task(call.body())
    call.take(b"123")
    await until_it_waits(reading)
    call.take(b"456")
    with pytest.raises(BodyTooLarge, match="limit of 5 bytes"):
        await reading


async def test_a_body_is_judged_by_its_head_first() -> None:
    with pytest.raises(UnsupportedMedia):
        await calling((b"content-encoding", b"gzip")).body()
    with pytest.raises(BodyTooLarge):
        await calling((b"content-length", b"6"), body_bytes_max=5).body()


async def test_before_it_is_asked_for_only_so_much_of_a_body_is_let_in() -> None:
    line = PlayedLine()
    call = calling(line=line)
    call.take(b"a" * HIGH_WATER_LIMIT)
    assert line.reading
    call.take(b"a")
    assert not line.reading

    reading = asyncio.create_task(call.body())
    await until_it_waits(reading)
    assert line.reading
    call.take(b"a" * HIGH_WATER_LIMIT)
    assert line.reading, "who asked for it takes all of it"
    ended(call)
    assert len(await reading) == 2 * HIGH_WATER_LIMIT + 1


async def test_a_body_that_does_not_come_in_time_is_refused_and_its_connection_closed() -> None:
    line = PlayedLine()
    call = calling(line=line, body_timeout_s=0.01)
    call.take(b"{")
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s") as raised:
        await call.body()
    await call.refuse(raised.value)

    assert line.said.headers["connection"] == "close" and line.closed


async def test_who_waits_to_be_asked_for_the_body_is_asked_once_and_only_for_one_that_is_read() -> None:
    line = PlayedLine()
    call = Call(line, [], Intake(), "req_1", awaits_continue=True)
    assert line.written == []
    reading = asyncio.create_task(call.body())
    await until_it_waits(reading)
    assert line.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    call.take(b"{}")
    ended(call)
    assert await reading == b"{}"
    await call.answer(200, [], b"")
    assert len(line.written) == 2


async def test_who_leaves_while_sending_has_gone() -> None:
    line = PlayedLine()
    call = calling(line=line)
    reading = asyncio.create_task(call.body())
    call.take(b"{")
    await until_it_waits(reading)
    line.lose(call)
    with pytest.raises(CallerGone):
        await reading
    assert call.gone


async def test_who_leaves_later_is_noticed_once_by_each_who_asked() -> None:
    line, told = PlayedLine(), list[int]()
    call = calling(line=line)
    call.on_gone(lambda: told.append(1))
    call.on_gone(lambda: told.append(2))
    assert not call.gone

    line.lose(call)
    assert told == [1, 2] and call.gone
    call.on_gone(lambda: told.append(3))
    assert told == [1, 2, 3], "who asks too late is told at once"


async def test_a_connection_that_was_lost_before_anybody_asked_is_told_at_once() -> None:
    line, told = PlayedLine(), list[int]()
    line.lost = True
    call = calling(line=line)
    call.on_gone(lambda: told.append(1))

    assert told == [1] and call.gone


async def test_the_end_of_an_answer_is_not_taken_for_a_hang_up() -> None:
    line, told = PlayedLine(), list[int]()
    call = calling(line=line)
    call.on_gone(lambda: told.append(1))
    await call.answer(200, [], b"done")
    line.lose(call)

    assert told == [] and not call.gone


async def test_an_answer_is_one_write_with_its_length_our_request_id_and_the_date() -> None:
    line = PlayedLine()
    await calling(line=line).answer(200, [(b"x-one", b"1")], b"body")

    assert line.written == [
        b"HTTP/1.1 200 OK\r\ndate: today\r\nx-one: 1\r\ncontent-length: 4\r\nrequest-id: req_1\r\n\r\nbody"
    ]
    assert line.answered == 1 and not line.closed


async def test_a_streams_head_goes_with_its_first_bytes_and_its_end_with_its_last() -> None:
    line = PlayedLine()
    call = calling(line=line)
    await call.start([(b"content-type", b"text/event-stream")])
    assert line.written == []
    call.send(b"event: x\n\n")
    assert line.said.status == 200 and line.said.body == b"event: x\n\n"
    await call.end(b"event: z\n\n")

    assert len(line.written) == 2
    assert line.said.complete and line.said.body == b"event: x\n\nevent: z\n\n"


async def test_a_stream_without_any_bytes_is_whole_all_the_same() -> None:
    line = PlayedLine()
    call = calling(line=line)
    await call.start([])
    await call.end(b"")

    assert line.said.status == 200 and line.said.complete and line.said.body == b""


async def test_a_refusal_before_the_stream_is_an_answer_and_within_it_the_one_event_that_ends_it() -> None:
    before, within = PlayedLine(), PlayedLine()
    await calling(line=before).refuse(InvalidRequest("No."))
    call = calling(line=within)
    await call.start([])
    call.send(b"event: x\n\n")
    await call.refuse(InvalidRequest("No."))

    assert before.said.status == 400
    assert within.said.status == 200 and within.said.complete, "nothing follows it"
    name, data, *_ = within.said.body.removeprefix(b"event: x\n\n").decode().split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == json.loads(before.said.body)


async def test_what_is_said_to_who_has_gone_goes_nowhere() -> None:
    line = PlayedLine()
    call = calling(line=line)
    await call.start([])
    line.lose(call)
    call.send(b"event: x\n\n")
    await call.end(b"event: z\n\n")

    assert line.written == []


async def test_a_connection_that_is_not_kept_says_so_and_is_closed_behind_the_answer() -> None:
    line = PlayedLine()
    await Call(line, [], Intake(), "req_1", keep_alive=False).answer(200, [], b"")

    assert line.said.headers["connection"] == "close" and line.closed


async def test_who_does_not_keep_up_is_waited_for_before_the_last_word() -> None:
    line = PlayedLine()
    call = calling(line=line)
    await call.start([])
    call.send(b"event: x\n\n")
    assert call.keeps_up
    line.flow.pause_writing()
    assert not call.keeps_up
    ending = asyncio.create_task(call.end(b"event: z\n\n"))
    await until_it_waits(ending)
    assert len(line.written) == 1
    line.flow.resume_writing()
    await ending
    assert line.said.complete


async def test_a_line_break_never_gets_into_a_head() -> None:
    line = PlayedLine()
    with pytest.raises(AssertionError, match="line break"):
        await calling(line=line).answer(200, [(b"x-one", b"1\r\nx-two: 2")], b"")
    assert line.written == []


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_stop_does_not_replace_a_last_word_that_was_on_its_way(is_stream: bool) -> None:  # noqa: FBT001
    line = PlayedLine()
    call = calling(line=line)
    if is_stream:
        await call.start([])
    line.flow.pause_writing()
    ending = asyncio.create_task(call.end(b"the end") if is_stream else call.answer(200, [], b"the end"))
    await until_it_waits(ending)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    line.flow.resume_writing()
    await call.cut_off()

    assert line.said.status == 200 and line.said.body == b"the end" and line.said.complete


async def test_a_call_that_a_stop_cuts_off_is_told_so() -> None:
    line = PlayedLine()
    await calling(line=line).cut_off()

    assert line.said.status == 503 and b"shutting_down" in line.said.body
