"""CONTRACT 5.1: an error is never billed, whatever upstream does and wherever its answer breaks.

Method: one broken answer after another, plain and streamed; after each the wallet is where it was and holds nothing.
"""

from pathlib import Path

import pytest

from faregate.core.ledger import Basis, State
from faregate.core.money import NANOS_PER_CREDIT
from faregate.upstreams.script import End, Play, error_frame, events, failure, frames_of, plain
from faregate.wire.usage import Usage
from tests.contract.handmade import by_hand
from tests.contract.riders import NO_RETRY, Rider, loss, message, streamed
from tests.gateway import ask, running

OPENING = 1_000_000 * NANOS_PER_CREDIT

STATUSES = [400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 529, 301, 204]


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_no_error_status_of_an_upstream_is_ever_billed(folder: Path, is_stream: bool) -> None:  # noqa: FBT001
    plays = [failure(status, "api_error", "no") for status in STATUSES]
    async with running(folder, script=plays, toml=NO_RETRY) as gate:
        key = await gate.key()
        for status in STATUSES:
            answer = await gate.message(key, ask(stream=is_stream))
            assert 400 <= answer.status_code < 600, status
            assert answer.json()["type"] == "error", status
        receipts = await gate.receipts(key)

        assert len(receipts) == len(gate.upstream.log) == len(STATUSES)
        assert {(r["state"], r["outcome"], r["charged"]) for r in receipts} == {("released", "upstream_error", "0")}
        assert await gate.books() == (OPENING, 0)


BROKEN_FRAMES = frames_of(message(input_tokens=5, output_tokens=50))
BROKEN: dict[str, Play] = {
    "an error as the first event": events([error_frame()]),
    "an error right after the start": events([*BROKEN_FRAMES[:1], error_frame()]),
    "an error in the middle": events([*BROKEN_FRAMES[:5], error_frame("api_error", "Internal server error")]),
    "an error after the last delta": events([*BROKEN_FRAMES[:-1], error_frame()]),
    "an end without message_stop": events(BROKEN_FRAMES[:-1]),
    "an end after the start": events(BROKEN_FRAMES[:1]),
    "an empty stream": events([]),
    "a cut in the middle": events(BROKEN_FRAMES, ending=End.CUT, ending_after=4),
    "a reset in the middle": events(BROKEN_FRAMES, ending=End.RESET, ending_after=4),
    "half a chunk": events(BROKEN_FRAMES, ending=End.HALF_CHUNK, ending_after=4),
    "garbage in the framing": events(BROKEN_FRAMES, ending=End.GARBAGE, ending_after=4),
    "no answer at all": events(BROKEN_FRAMES, ending=End.REFUSE),
    "an event that is not JSON": events(
        [*BROKEN_FRAMES[:3], b"event: message_delta\ndata: {oops\n\n", *BROKEN_FRAMES[3:]]
    ),
    "a second message_start": events([*BROKEN_FRAMES[:3], *BROKEN_FRAMES]),
    "deltas without a start": events(BROKEN_FRAMES[1:]),
    "a plain answer to a stream": plain(message(input_tokens=5, output_tokens=5)),
}


async def test_no_stream_that_ends_badly_is_ever_billed(folder: Path) -> None:
    async with running(folder, script=list(BROKEN.values()), toml=NO_RETRY) as gate:
        key = await gate.key()
        for name in BROKEN:
            answer = await gate.stream(key)
            if answer.status_code == 200:
                assert answer.kinds[-1] == "error" and "message_stop" not in answer.kinds, name
            else:
                assert answer.status_code in (502, 504, 529), name
            posted, held = await gate.books()
            assert (posted, held) == (OPENING, 0), name

        receipts = await gate.receipts(key)
        assert len(receipts) == len(BROKEN)
        assert {(r["state"], r["outcome"], r["charged"]) for r in receipts} == {("released", "upstream_error", "0")}


BROKEN_PLAIN: dict[str, Play] = {
    "not JSON": Play(frames=(b"<html>busy</html>",)),
    "JSON that is no message": plain({"type": "error", "error": {"type": "api_error", "message": "no"}}),
    "a cut body": plain(message(input_tokens=5, output_tokens=5), ending=End.CUT, cut_at=20),
    "a reset": plain(message(input_tokens=5, output_tokens=5), ending=End.REFUSE),
    "a list": Play(frames=(b"[]",)),
    "nothing": Play(frames=()),
}


async def test_no_plain_answer_that_is_broken_is_ever_billed(folder: Path) -> None:
    async with running(folder, script=list(BROKEN_PLAIN.values()), toml=NO_RETRY) as gate:
        key = await gate.key()
        for name in BROKEN_PLAIN:
            answer = await gate.message(key)
            assert answer.status_code == 502, name
            assert answer.json()["error"]["details"]["error_code"] == "upstream_error", name
            assert await gate.books() == (OPENING, 0), name


async def test_what_upstream_made_of_a_failed_stream_is_the_operators_loss(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        turn.begin(*BROKEN_FRAMES[:4])
        await rider.until(b"content_block_delta")
        turn.finish(error_frame())
        await rider.whole()
        record = await gate.record(key, rider.events[0]["message"]["id"])

        assert (record.state, record.charged, record.basis) == (State.RELEASED, 0, Basis.COUNTED)
        assert record.usage == Usage(input=5, output=1)
        assert await loss(gate, "error_loss") == 5 * 1_000 + 1 * 5_000
        assert await gate.books() == (OPENING, 0)
        rider.leave()


async def test_a_call_that_is_refused_here_leaves_no_receipt_and_no_charge(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key()
        for body in (b"{", ask(max_tokens=9_000), ask(model="gpt-unknown"), ask(max_tokens=-1), streamed(messages=[])):
            assert 400 <= (await gate.message(key, body)).status_code < 500

        assert await gate.receipts(key) == []
        assert len(gate.upstream.log) == 0
        assert await gate.books() == (OPENING, 0)
