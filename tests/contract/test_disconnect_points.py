"""CONTRACT 5.3 and 5.4, point by point: wherever and however a caller leaves, the bill is what was made by then.

Method: each point of a call, each way of leaving (a close, a half-close, a RST), against an upstream played by hand or
a scripted one; the bill is counted out here from the bytes that were sent, and the books are audited after each call.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import End, Play, events, frames_of, plain, stream
from tests.contract.handmade import by_hand
from tests.contract.riders import Rider, loss, message, request, streamed, until
from tests.contract.test_disconnects import LEAVES, leave
from tests.gateway import ask, running

INPUT, OUTPUT = 1_000, 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
EVERYTHING = frames_of(
    {
        **message(input_tokens=9, output_tokens=77),
        "content": [
            {"type": "thinking", "thinking": "What would they like to know, and where?", "signature": "s" * 900},
            {"type": "text", "text": 'I look it up: "sun" or "rain"?\nOne moment.'},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Taipei", "days": [1, 2, 3]}},
        ],
    },
    deltas=3,
)
FLOOD = frames_of(message("x" * 30_000_000, input_tokens=9, output_tokens=1), deltas=600)[:-2]


def made(frames: list[bytes]) -> int:
    """The length of what was generated in these frames, as it stands on the wire."""
    size = 0
    for raw in frames:
        delta: dict[str, Any] = json.loads(raw.split(b"data: ", 1)[1]).get("delta", {})
        for kind, field in (("text", "text"), ("thinking", "thinking"), ("input_json", "partial_json")):
            if delta.get("type") == f"{kind}_delta":
                size += len(json.dumps(delta[field])) - 2
    return size


@pytest.mark.parametrize("how", LEAVES)
async def test_after_each_frame_of_text_tool_json_and_thinking_the_bill_is_what_had_come(
    folder: Path, how: str
) -> None:
    async with by_hand(folder) as (gate, upstream):
        key, spent = await gate.key(), 0
        for calls, upto in enumerate(range(1, len(EVERYTHING)), start=1):
            rider = await Rider.ask(gate, key, streamed())
            turn = await upstream.turn()
            turn.begin(*EVERYTHING[:upto])
            while len(rider.events) < upto:
                await rider.more()
            leave(rider, how)
            await turn.gone()
            receipt = (await gate.settled(key, calls))[0]
            told = upto == len(EVERYTHING) - 1  # message_delta has come, and with it upstream's own count.
            output = 77 if told else max(1, -(-made(EVERYTHING[:upto]) // 4))
            spent += 9 * INPUT + output * OUTPUT

            assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "client_gone", "counted"), (
                upto
            )
            assert (receipt["usage"]["input_tokens"], receipt["usage"]["output_tokens"]) == (9, output), upto
            assert await gate.books() == (OPENING - spent, 0), upto
            rider.leave()
        assert await loss(gate, "abandon_loss") == 0, "what was paid for is nobody's loss"
        assert upstream.turns == len(EVERYTHING) - 1


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("part", ["nothing", "half a head", "a head", "half a body"])
async def test_before_a_request_is_whole_nothing_is_held_sent_or_billed(folder: Path, how: str, part: str) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        whole = request(key, streamed())
        head = whole.index(b"\r\n\r\n") + 4
        upto = {"nothing": 0, "half a head": head // 2, "a head": head, "half a body": (head + len(whole)) // 2}[part]
        rider = await Rider.connect(gate)
        await rider.send(whole[:upto])
        leave(rider, how)
        if how == "half_close":
            assert b"HTTP/1.1 2" not in await rider.rest()
        rider.leave()
        await gate.running.door.quiet()

        assert await gate.receipts(key) == [] and len(gate.upstream.log) == 0
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("how", LEAVES)
async def test_right_after_the_body_it_is_free_and_a_loss_only_if_upstream_was_asked(
    folder: Path,
    how: str,
    is_stream: bool,  # noqa: FBT001
) -> None:
    async with running(folder, script=lambda seen: Play(ending=End.STALL, raw=b"")) as gate:
        key = await gate.key()
        for _ in range(10):
            rider = await Rider.ask(gate, key, ask(stream=is_stream))
            leave(rider, how)
            rider.leave()
        await until(lambda: gate.running.door.open_calls == 0)

        # What a reset overtakes never becomes a call; of the others each is asked for or stopped before.
        assert all(receipt["charged"] == "0" for receipt in await gate.receipts(key))
        await until(lambda: all(seen.hung_up for seen in gate.upstream.log))
        assert (await loss(gate, "abandon_loss") > 0) >= (len(gate.upstream.log) > 0)
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize(
    "play",
    [
        Play(ending=End.STALL, raw=b""),
        Play(ending=End.STALL, raw=b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
        events(EVERYTHING, ending=End.STALL, ending_after=5),
    ],
    ids=["before its head", "before its first event", "within its stream"],
)
async def test_an_upstream_that_is_silent_sees_the_hang_up(folder: Path, how: str, play: Play) -> None:
    async with running(folder, script=[play]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await until(lambda: gate.upstream.log and gate.upstream.log[0].frames_written == len(play.pieces))
        if play.frames:
            while len(rider.events) < 5:
                await rider.more()
        leave(rider, how)
        await until(lambda: gate.upstream.log[0].hung_up)
        (receipt,) = await gate.settled(key)

        assert receipt["outcome"] == "client_gone"
        assert (await loss(gate, "abandon_loss") > 0) == (not play.frames), (
            "a loss where it is not billed, and only there"
        )
        assert (await gate.books())[1] == 0
        rider.leave()


@pytest.mark.parametrize("how", LEAVES)
async def test_a_reader_that_stalls_and_then_leaves_stops_upstream_and_pays(folder: Path, how: str) -> None:
    async with running(folder, script=[events(FLOOD)]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_start")
        before = -1
        while gate.upstream.log[0].bytes_written != before:  # Until nothing moves any more.
            before = gate.upstream.log[0].bytes_written
            for _ in range(50):
                await gate.get("/healthz")
        leave(rider, how)
        await until(lambda: gate.upstream.log[0].hung_up)
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"]) == ("settled", "client_gone")
        assert receipt["charged"] == receipt["max"]
        assert (await gate.books())[1] == 0
        rider.leave()


@pytest.mark.parametrize("how", LEAVES)
async def test_a_plain_answer_is_paid_once_it_was_made_whoever_reads_it(folder: Path, how: str) -> None:
    huge = plain(message("x" * 20_000_000, input_tokens=9, output_tokens=50))
    async with running(folder, script=[huge]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key)
        await rider.until(b"\r\n\r\n")
        leave(rider, how)
        rider.leave()
        (receipt,) = await gate.settled(key)
        await until(lambda: gate.running.door.open_calls == 0)

        assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "ok", "upstream")
        assert await gate.books() == (OPENING - 9 * INPUT - 50 * OUTPUT, 0)
        assert await loss(gate, "abandon_loss") == 0


@pytest.mark.parametrize("how", LEAVES)
async def test_after_message_stop_the_whole_call_is_paid_once(folder: Path, how: str) -> None:
    async with running(folder, script=[stream(message(input_tokens=9, output_tokens=50))]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_stop")
        leave(rider, how)
        rider.leave()
        (receipt,) = await gate.settled(key)

        assert (receipt["outcome"], receipt["basis"]) == ("ok", "upstream")
        assert await gate.books() == (OPENING - 9 * INPUT - 50 * OUTPUT, 0)


async def test_half_a_close_is_a_hang_up_and_what_had_been_sent_still_arrives(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        turn.begin(*EVERYTHING[:5])
        await rider.until(b"message_start")
        rider.half_close()
        await turn.gone()
        await rider.rest()

        assert b"message_start" in rider.seen and b"event: error" not in rider.seen
        assert b"message_stop" not in rider.seen and not rider.seen.endswith(b"0\r\n\r\n"), "cut, and seen to be cut"
        rider.leave()
