"""CONTRACT 7 and 5.2: upstream's bytes as they come, our id and the asked model in them, and no end before it is paid.

Method: an upstream that is played by hand, a caller on a bare socket, and a second connection to the ledger's file that
holds its write lock, so that nothing can become durable.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.proxy import relay
from faregate.store import sqlite
from faregate.upstreams.script import error_frame, events, frame, frames_of, plain, stream
from faregate.wire import sse
from tests.contract.handmade import by_hand
from tests.contract.riders import Rider, loss, message, streamed
from tests.gateway import MODEL, ask, running

MESSAGE = message("One two three four", input_tokens=5, output_tokens=50)
FRAMES = frames_of(MESSAGE)
OPENING = 1_000_000 * NANOS_PER_CREDIT
ID = re.compile(r"msg_[0-9A-HJKMNP-TV-Z]{26}")


async def test_every_byte_but_the_start_is_upstreams_own_and_in_its_order(tmp_path: Path) -> None:
    odd = [b": a comment\n\n", frame("brand_new", x=1), b'event: ping\r\ndata: {"type": "ping"}\r\n\r\n']
    sent = [*FRAMES[:3], *odd, *FRAMES[3:]]
    async with running(tmp_path, script=[events(sent)]) as gate:
        answer = await gate.stream(await gate.key())

        assert sse.cut(answer.body)[1:] == sent[1:]
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_only_the_id_and_the_model_of_the_start_are_edited(tmp_path: Path) -> None:
    start = {**MESSAGE, "content": [], "container": {"id": "c"}, "brand_new": [1, {"deep": None}]}
    frames = [frame("message_start", message=start, beside="kept"), *FRAMES[1:]]
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed(model="my-own-name"))
        turn = await upstream.turn()
        turn.begin(*frames)
        turn.finish()
        await rider.whole()
        first = rider.events[0]

        assert ID.fullmatch(first["message"].pop("id"))
        assert first["message"].pop("model") == "my-own-name"
        kept = {name: value for name, value in start.items() if name not in ("id", "model")}
        assert first == {"type": "message_start", "message": kept, "beside": "kept"}
        assert f'"model":"{MODEL}"'.encode() in turn.body, "upstream is asked by the catalog's id"
        rider.leave()


async def test_a_plain_answer_is_upstreams_own_but_for_id_and_model(tmp_path: Path) -> None:
    odd = {**MESSAGE, "container": None, "brand_new": [1, {"deep": 1e-7}]}
    async with running(tmp_path, script=[plain(odd)]) as gate:
        key = await gate.key()
        answer = (await gate.message(key, ask(model="claude-haiku-4-5-20251001"))).json()

        assert ID.fullmatch(answer["id"])
        assert answer == {**odd, "id": answer["id"], "model": "claude-haiku-4-5-20251001"}
        assert (await gate.receipt(key, answer["id"]))["model"] == MODEL


async def test_each_event_goes_out_as_it_comes_in(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed())
        turn = await upstream.turn()
        turn.begin(FRAMES[0])
        await rider.until(b"message_start")
        for number, sent in enumerate(FRAMES[1:-1], start=2):
            turn.frames(sent)
            await until_events(rider, number)
        turn.finish(FRAMES[-1])
        await rider.whole()

        assert [event["type"] for event in rider.events][-1] == "message_stop"
        rider.leave()


async def until_events(rider: Rider, count: int) -> None:
    while len(rider.events) < count:
        await rider.more()


async def test_half_an_event_waits_for_its_other_half(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed())
        turn = await upstream.turn()
        cut = len(FRAMES[3]) // 2
        turn.begin(*FRAMES[:3], FRAMES[3][:cut])
        await rider.until(b"event: ping")
        assert rider.body.endswith(b"\n\n") and FRAMES[3][:cut] not in rider.body
        turn.finish(FRAMES[3][cut:], *FRAMES[4:])
        await rider.whole()

        assert sse.cut(rider.body)[1:] == FRAMES[1:]
        rider.leave()


async def test_when_the_end_is_seen_the_charge_is_already_durable(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        turn.begin(*FRAMES[:-2])
        await rider.until(b"content_block_stop")
        turn.finish(*FRAMES[-2:])
        await rider.until(b"event: message_stop")
        with ledger(tmp_path) as other:
            row = other.execute("SELECT state, charged FROM charge").fetchone()

        assert row == ("settled", 5 * 1_000 + 50 * 5_000)
        rider.leave()


async def test_a_charge_that_the_ledger_refuses_costs_nothing_and_is_not_blamed_on_upstream(tmp_path: Path) -> None:
    refuse = "CREATE TRIGGER no BEFORE UPDATE ON charge WHEN NEW.state = 'settled' BEGIN SELECT RAISE(ABORT, 'no'); END"
    async with running(tmp_path, script=[stream(MESSAGE)]) as gate:
        key = await gate.key()
        with ledger(tmp_path) as other:
            other.execute(refuse)
        answer = await gate.stream(key)
        (receipt,) = await gate.receipts(key)

        assert answer.kinds[-1] == "error" and "message_stop" not in answer.kinds
        assert answer.events[-1]["error"]["details"]["error_code"] == "internal"
        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "gateway_error", "0")
        assert await gate.books() == (OPENING, 0)
        assert await loss(gate, "error_loss") == 5 * 1_000 + 50 * 5_000


async def test_the_end_comes_as_soon_as_the_charge_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 60_000)
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        rider = await Rider.ask(gate, key, streamed())
        turn = await upstream.turn()
        with ledger(tmp_path) as other:
            other.execute("BEGIN IMMEDIATE")
            turn.begin(*FRAMES)
            turn.finish()
            await rider.until(b"message_delta")
            assert b"message_stop" not in rider.seen
            other.execute("ROLLBACK")
        await rider.whole()

        assert rider.events[-1]["type"] == "message_stop"
        assert (await gate.books())[1] == 0
        rider.leave()


async def test_a_fault_after_the_first_byte_is_one_error_event_and_nothing_follows_it(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        key = await gate.key()
        for ending in (error_frame(), b"event: message_delta\ndata: {oops\n\n", None):
            rider = await Rider.ask(gate, key, streamed())
            turn = await upstream.turn()
            turn.begin(*FRAMES[:4])
            await rider.until(b"content_block_delta")
            if ending is None:
                turn.close()
            else:
                turn.finish(ending, *FRAMES[4:])
            await rider.whole()
            kinds = [event["type"] for event in rider.events]

            assert kinds.count("error") == 1 and kinds[-1] == "error"
            assert rider.seen.endswith(b"\n\n\r\n0\r\n\r\n")
            error = rider.events[-1]
            assert set(error) == {"type", "error", "request_id"}
            assert error["request_id"] == rider.headers["request-id"]
            assert error["error"]["details"]["error_code"] in ("upstream_error", "upstream_overloaded")
            rider.leave()
        assert await gate.books() == (OPENING, 0)
        assert upstream.turns == 3, "what has begun is never begun again"


async def test_an_end_without_message_stop_is_a_fault(tmp_path: Path) -> None:
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed())
        turn = await upstream.turn()
        turn.begin(*FRAMES[:4])
        await rider.until(b"content_block_delta")
        turn.finish(*FRAMES[4:-1])
        await rider.whole()

        assert [event["type"] for event in rider.events[-2:]] == ["message_delta", "error"]
        assert await gate.books() == (OPENING, 0)
        assert await loss(gate, "error_loss") == 5 * 1_000 + 50 * 5_000
        rider.leave()


async def test_what_upstream_says_after_its_end_is_not_relayed(tmp_path: Path) -> None:
    chatty = [*FRAMES, frame("content_block_delta", index=9, delta={"type": "text_delta", "text": "more"}), FRAMES[-1]]
    async with running(tmp_path, script=[events(chatty)]) as gate:
        answer = await gate.stream(await gate.key())

        assert sse.cut(answer.body)[1:] == FRAMES[1:]


async def test_a_ping_fills_a_silence_and_stands_between_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PING_S", 0.02)
    async with by_hand(tmp_path) as (gate, upstream):
        rider = await Rider.ask(gate, await gate.key(), streamed())
        turn = await upstream.turn()
        turn.begin(*FRAMES[:2], FRAMES[3][:20])
        await rider.until(relay.PING)
        turn.finish(FRAMES[3][20:], *FRAMES[4:])
        await rider.whole()

        frames = sse.cut(rider.body)
        assert relay.PING in frames, "upstream sent no ping here: this one is ours"
        assert [raw for raw in frames if raw != relay.PING][1:] == [FRAMES[1], *FRAMES[3:]]
        assert (await gate.books())[1] == 0
        rider.leave()


async def test_upstreams_own_headers_do_not_reach_the_caller(tmp_path: Path) -> None:
    theirs = (("request-id", "req_theirs"), ("anthropic-ratelimit-requests-limit", "50"), ("set-cookie", "a=b"),
              ("server", "theirs"), ("anthropic-organization-id", "org_1"))  # fmt: skip
    async with running(tmp_path, script=[stream(MESSAGE, headers=theirs), plain(MESSAGE, headers=theirs)]) as gate:
        key = await gate.key()
        for answer in (await gate.stream(key), await gate.message(key)):
            assert answer.status_code == 200
            assert answer.headers["request-id"] != "req_theirs"
            for name, value in theirs:
                assert answer.headers.get(name) != value


@contextmanager
def ledger(folder: Path) -> Iterator[sqlite3.Connection]:
    """A stranger's connection to the ledger's file, as a shell or a backup has."""
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(home / "faregate.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
