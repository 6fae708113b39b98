"""CONTRACT 5.3: where upstream bills on regardless, a hang-up is paid at once and the rest is read for the operator.

Method: a catalog that says `runs_to_completion`, an upstream played by hand that is left at a known frame and then goes
on, and the books: at once, and when upstream has ended. What it costs is multiplied out here.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.shipped import load_catalog
from faregate.upstreams.script import error_frame, frames_of
from tests.contract.handmade import HandUpstream, Turn, by_hand
from tests.contract.riders import Rider, loss, message, streamed, until
from tests.gateway import MODEL, Gate

INPUT, OUTPUT = 1_000, 5_000
OPENING = 1_000_000 * NANOS_PER_CREDIT
TEXT = "The gate opens when the fare is held, and the ride is counted to the last token."
MESSAGE = message(TEXT, input_tokens=9, output_tokens=90)
WHOLE = 9 * INPUT + 90 * OUTPUT
FRAMES = frames_of(MESSAGE)
CUT = 6
"""Frames that have come when the caller leaves: three deltas of a twelfth of the text each are among them."""

TOML = '[catalog]\nfiles = ["mine.toml"]\n'


@asynccontextmanager
async def running_on(folder: Path, *, entry: str = "") -> AsyncIterator[tuple[Gate, HandUpstream]]:
    (folder / "mine.toml").write_text(f"[models.{MODEL}]\nruns_to_completion = true\n")
    async with by_hand(folder, entry=entry, toml=TOML) as (gate, upstream):
        yield gate, upstream


async def left_within(gate: Gate, upstream: HandUpstream, key: str) -> tuple[Turn, int]:
    """A stream whose caller left after CUT frames, and what that came to."""
    rider = await Rider.ask(gate, key, streamed())
    turn = await upstream.turn()
    turn.begin(*FRAMES[:CUT])
    while len(rider.events) < CUT:
        await rider.more()
    rider.leave()
    made = sum(len(raw.partition(b'"text":"')[2].partition(b'"}}')[0]) for raw in FRAMES[:CUT] if b"text_delta" in raw)
    return turn, 9 * INPUT + -(-made // 4) * OUTPUT


async def ended(gate: Gate) -> None:
    """Nothing is read on any more."""
    await until(lambda: len(gate.running.gate.drains) == 0)


async def test_a_stream_that_is_left_is_paid_at_once_and_its_rest_is_the_operators_loss(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        turn, paid = await left_within(gate, upstream, key)
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "client_gone", "counted")
        assert await gate.books() == (OPENING - paid, 0), "the caller's money is back before upstream has ended"
        assert not turn.left and await loss(gate, "abandon_loss") == 0

        turn.finish(*FRAMES[CUT:])
        await ended(gate)
        assert await loss(gate, "abandon_loss") == WHOLE - paid
        assert await gate.settled(key) == [receipt], "what has ended does not change"
        assert await gate.books() == (OPENING - paid, 0)


async def test_a_stream_that_is_left_before_its_first_event_costs_the_operator_what_upstream_says(
    tmp_path: Path,
) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        rider.leave()
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "client_gone", "0")
        assert not turn.left and await loss(gate, "abandon_loss") == 0, "not an estimate beside the truth"
        turn.begin(*FRAMES[:3])
        turn.finish(*FRAMES[3:])
        await ended(gate)
        assert await loss(gate, "abandon_loss") == WHOLE
        assert await gate.books() == (OPENING, 0)


async def test_a_plain_call_that_is_left_is_free_and_what_upstream_made_is_the_operators(tmp_path: Path) -> None:
    body = msgspec.json.encode(MESSAGE)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key)
        turn = await upstream.turn()
        turn.write(head + body[:40])
        rider.leave()
        (receipt,) = await gate.settled(key)
        assert (receipt["state"], receipt["charged"]) == ("released", "0")

        turn.write(body[40:])
        await ended(gate)
        assert await loss(gate, "abandon_loss") == WHOLE
        assert await gate.books() == (OPENING, 0)


async def test_a_call_that_upstream_refuses_after_it_was_left_is_not_tried_again_and_is_no_loss(tmp_path: Path) -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}'
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        rider.leave()
        await gate.settled(key)
        turn.write(b"HTTP/1.1 529 Busy\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await ended(gate)

        assert upstream.turns == 1
        assert await loss(gate, "abandon_loss") == 0
        assert await gate.books() == (OPENING, 0)


async def test_an_upstream_that_breaks_off_after_it_was_left_is_a_loss_of_the_estimated_input(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        quoted = (await gate.post("/v1/messages/quote", key, streamed())).json()["credits_input"]
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        rider.leave()
        await gate.settled(key)
        turn.close()
        await ended(gate)

        assert await loss(gate, "abandon_loss") == round(float(quoted) * NANOS_PER_CREDIT)
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("end", [b"", error_frame()], ids=["cut", "error"])
async def test_a_rest_that_ends_badly_is_a_loss_of_what_was_made_by_then(tmp_path: Path, end: bytes) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        turn, paid = await left_within(gate, upstream, key)
        await gate.settled(key)
        turn.frames(*FRAMES[CUT:-2], *([end] if end else []))
        turn.close()
        await ended(gate)

        assert await loss(gate, "abandon_loss") == 9 * INPUT + -(-len(TEXT) // 4) * OUTPUT - paid
        assert await gate.books() == (OPENING - paid, 0)


async def test_what_earlier_attempts_used_is_part_of_the_loss(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        failed = await upstream.turn()
        failed.begin(FRAMES[0], error_frame())  # It has read 9 tokens and made one.
        turn = await upstream.turn()
        turn.begin(*FRAMES[:CUT])
        while len(rider.events) < CUT:
            await rider.more()
        rider.leave()
        (receipt,) = await gate.settled(key)
        paid = OPENING - (await gate.books())[0]
        turn.finish(*FRAMES[CUT:])
        await ended(gate)

        assert receipt["attempts"] == 2 and await loss(gate, "error_loss") == 0
        assert await loss(gate, "abandon_loss") == WHOLE - paid + 9 * INPUT + OUTPUT
        await gate.books()


async def test_a_shortfall_is_not_lost_twice(tmp_path: Path) -> None:
    huge = frames_of(message("x" * 40_000, input_tokens=9, output_tokens=10_050), deltas=10)
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed(max_tokens=10))
        turn = await upstream.turn()
        turn.begin(*huge[:-2])
        await rider.until(b"content_block_stop")
        rider.leave()
        (receipt,) = await gate.settled(key)
        turn.finish(*huge[-2:])
        await ended(gate)

        assert receipt["charged"] == receipt["max"]
        assert await loss(gate, "shortfall") == 9 * INPUT + 10_000 * OUTPUT - (OPENING - (await gate.books())[0])
        assert await loss(gate, "abandon_loss") == 50 * OUTPUT


async def test_upstreams_own_deadline_ends_the_reading(tmp_path: Path) -> None:
    async with running_on(tmp_path, entry="[upstreams.timeouts]\ntotal_s = 1\n") as (gate, upstream):
        key = await gate.key()
        turn, paid = await left_within(gate, upstream, key)
        await gate.settled(key)
        await turn.gone()
        await ended(gate)

        assert await loss(gate, "abandon_loss") == 0, "nothing more had been made"
        assert await gate.books() == (OPENING - paid, 0)


async def test_a_crash_while_the_rest_is_read_leaves_right_books(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        turn, paid = await left_within(gate, upstream, key)
        await gate.settled(key)
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for file in (tmp_path / "home").glob("*"):
            if file.is_file():
                shutil.copy(file, crashed / file.name)  # As a process that dies here leaves them.
        turn.finish(*FRAMES[CUT:])
        await ended(gate)

    (tmp_path / "again").mkdir()
    shutil.move(crashed, tmp_path / "again" / "home")
    async with running_on(tmp_path / "again") as (gate, _):
        assert await gate.books() == (OPENING - paid, 0)
        assert [r["state"] for r in await gate.receipts(key)] == ["settled"]


async def test_a_caller_who_stays_gets_the_whole_answer_and_nothing_is_lost(tmp_path: Path) -> None:
    async with running_on(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        turn.begin(*FRAMES[:4])
        turn.finish(*FRAMES[4:])
        await rider.until(b"message_stop")
        rider.leave()

        assert await gate.books() == (OPENING - WHOLE, 0)
        assert await loss(gate, "abandon_loss") == 0 and len(gate.running.gate.drains) == 0


def test_no_shipped_model_runs_on_and_an_operators_file_says_which_does(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(f"[models.{MODEL}]\nruns_to_completion = true\n")

    assert not any(model.runs_to_completion for model in load_catalog().models())
    assert [m.id for m in load_catalog([mine]).models() if m.runs_to_completion] == [MODEL]
