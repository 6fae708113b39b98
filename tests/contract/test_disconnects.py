"""CONTRACT 5.3 and 5.4: who hangs up pays what was made for them and no more, and upstream is stopped.

Method: an upstream played by hand that stops after a known frame, a caller who leaves right there (a close, a
half-close, a RST), and the bill counted out from the very bytes that had been sent.
"""

from pathlib import Path

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.edge.protocol import Protocol
from faregate.upstreams.script import Play, Seen, events, frames_of
from tests.contract.handmade import HandUpstream, Turn, by_hand
from tests.contract.riders import Rider, loss, message, request, streamed, until
from tests.gateway import Gate, ask, running

INPUT, OUTPUT = 1_000, 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
TEXT = "The gate opens when the fare is held, and the ride is counted to the last token."
FRAMES = frames_of(message(TEXT, input_tokens=9, output_tokens=33))
DELTAS = [index for index, raw in enumerate(FRAMES) if b"text_delta" in raw]
LEAVES = ["close", "half_close", "reset"]


def leave(rider: Rider, how: str) -> None:
    {"close": rider.leave, "half_close": rider.half_close, "reset": rider.reset}[how]()


def text_bytes(frames: list[bytes]) -> int:
    """How much text these frames carry, read off their JSON."""
    marks = [raw.partition(b'"text":"')[2].partition(b'"}}')[0] for raw in frames if b"text_delta" in raw]
    return sum(map(len, marks))


async def begun(gate: Gate, upstream: HandUpstream, key: str, frames: list[bytes]) -> tuple[Rider, Turn]:
    """A stream that has come so far, to the caller too."""
    rider = await Rider.ask(gate, key, streamed())
    turn = await upstream.turn()
    turn.begin(*frames)
    while len(rider.events) < len(frames):
        await rider.more()
    return rider, turn


async def test_a_hang_up_at_any_frame_is_billed_for_what_was_made_until_then(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key, spent = await gate.key(), 0
        for calls, upto in enumerate(range(1, len(FRAMES)), start=1):
            rider, turn = await begun(gate, upstream, key, FRAMES[:upto])
            rider.leave()
            await turn.gone()
            receipt = (await gate.settled(key, calls))[0]
            counted = max(1, -(-text_bytes(FRAMES[:upto]) // 4))
            output = 33 if upto == len(FRAMES) - 1 else counted
            spent += 9 * INPUT + output * OUTPUT

            assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "client_gone", "counted"), (
                upto
            )
            assert receipt["usage"]["input_tokens"] == 9, upto
            assert receipt["usage"]["output_tokens"] == output, upto
            assert await gate.books() == (OPENING - spent, 0), upto
        assert upstream.turns == len(FRAMES) - 1


@pytest.mark.parametrize("how", LEAVES)
async def test_however_the_caller_leaves_upstream_is_stopped_and_the_bill_is_the_same(folder: Path, how: str) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        sent = FRAMES[: DELTAS[2] + 1]
        rider, turn = await begun(gate, upstream, key, sent)
        leave(rider, how)
        await turn.gone()
        (receipt,) = await gate.settled(key)

        output = -(-text_bytes(sent) // 4)
        assert (receipt["outcome"], receipt["usage"]["output_tokens"]) == ("client_gone", output)
        assert await gate.books() == (OPENING - 9 * INPUT - output * OUTPUT, 0)
        rider.leave()


@pytest.mark.parametrize("how", LEAVES)
async def test_a_hang_up_before_the_body_ends_sends_nothing_and_costs_nothing(folder: Path, how: str) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        rider = await Rider.connect(gate)
        await rider.send(request(key, streamed())[:-10])
        leave(rider, how)
        rider.leave()
        await gate.running.door.quiet()

        assert (await gate.message(key, b"{")).status_code == 400, "the gateway is there for the next one"
        assert await gate.receipts(key) == []
        assert len(gate.upstream.log) == 0
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("how", LEAVES)
async def test_a_hang_up_before_the_first_byte_costs_nothing_and_stops_upstream(
    folder: Path,
    how: str,
    is_stream: bool,  # noqa: FBT001
) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, ask(stream=is_stream))
        turn = await upstream.turn()
        leave(rider, how)
        await turn.gone()
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "client_gone", "0")
        assert upstream.turns == 1, "nobody is there to try again for"
        assert await loss(gate, "abandon_loss") > 0, "what upstream may bill for it has a name"
        assert await gate.books() == (OPENING, 0)
        rider.leave()


async def test_a_hang_up_within_a_plain_answer_costs_nothing_and_stops_upstream(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key)
        turn = await upstream.turn()
        turn.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"type": "message",'
        )
        rider.leave()
        await turn.gone()
        (receipt,) = await gate.settled(key)

        assert (receipt["outcome"], receipt["charged"]) == ("client_gone", "0")
        assert await gate.books() == (OPENING, 0)


async def test_a_hang_up_while_a_retry_is_waited_for_ends_the_call(folder: Path) -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
    busy = b"HTTP/1.1 529 Busy\r\nretry-after: 20\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        (await upstream.turn()).write(busy)
        rider.leave()
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"]) == ("released", "client_gone")
        assert upstream.turns == 1
        assert await loss(gate, "abandon_loss") == 0, "an upstream that has refused bills nothing"
        assert await gate.books() == (OPENING, 0)


async def test_a_hang_up_after_the_end_was_made_pays_the_whole_call_once(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_stop")
        rider.reset()
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "ok", "upstream")
        await gate.books()


async def test_tool_json_and_thinking_count_as_output_and_a_signature_does_not(folder: Path) -> None:
    thinking, tool = "Let me think about it. " * 5, {"city": "Taipei", "days": [1, 2, 3]}
    content = [
        {"type": "thinking", "thinking": thinking, "signature": "s" * 4_000},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": tool},
    ]
    frames = frames_of({**message(input_tokens=9, output_tokens=400), "content": content})[:-2]
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider, turn = await begun(gate, upstream, key, frames)
        rider.leave()
        await turn.gone()
        (receipt,) = await gate.settled(key)

        # Quotes in tool JSON are escaped once more on the wire, where its length is taken.
        made = len(thinking) + len('{\\"city\\":\\"Taipei\\",\\"days\\":[1,2,3]}')
        assert receipt["usage"]["output_tokens"] == -(-made // 4)
        await gate.books()


async def test_a_hang_up_never_costs_more_than_the_ceiling(folder: Path) -> None:
    huge = frames_of(message("x" * 400_000, input_tokens=9, output_tokens=1), deltas=40)[:-2]
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(max_tokens=10))
        turn = await upstream.turn()
        turn.begin(*huge)
        await rider.until(b"content_block_stop")
        ceiling = rider.headers["x-credits-max"]
        rider.leave()
        await turn.gone()
        (receipt,) = await gate.settled(key)

        assert receipt["charged"] == receipt["max"] == ceiling
        assert receipt["shortfall"] != "0"
        await gate.books()


async def test_a_caller_who_does_not_read_stops_the_upstream_from_being_read(folder: Path) -> None:
    endless = frames_of(message("x" * 30_000_000, input_tokens=9, output_tokens=1), deltas=600)[:-2]
    written: list[Seen] = []

    def script(seen: Seen) -> Play:
        written.append(seen)
        return events(endless)

    async with running(folder, script=script) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_start")
        before = -1
        while written[0].bytes_written != before:  # Until nothing moves any more.
            before = written[0].bytes_written
            for _ in range(50):
                await gate.get("/healthz")

        assert before < 30_000_000, "the upstream waits, and our memory does not fill"
        rider.leave()
        (receipt,) = await gate.settled(key)
        assert receipt["outcome"] == "client_gone"
        await gate.books()


async def test_a_caller_who_takes_nothing_more_has_left_and_pays_what_was_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "send_s", 0.2)
    endless = frames_of(message("x" * 30_000_000, input_tokens=9, output_tokens=1), deltas=600)[:-2]
    async with running(folder, script=[events(endless)]) as gate:
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        await rider.until(b"message_start")
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"]) == ("settled", "client_gone")
        assert receipt["charged"] == receipt["max"]
        await until(lambda: gate.upstream.log[0].hung_up)
        assert (await gate.books())[1] == 0, "nothing is held for somebody who does not come back"
        rider.leave()
