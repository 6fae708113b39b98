"""The end of an answer goes to its caller behind the charge: in the ledger, or on our own disk while that is away.

Method: a foreign connection locks the ledger between the hold and the settle.
"""

import asyncio
from pathlib import Path

import pytest

from faregate.core.money import NANOS_PER_CREDIT
from faregate.store import sqlite
from faregate.upstreams.script import Play, Seen, plain, stream
from tests.contract.riders import Rider, message
from tests.contract.test_streaming import ledger
from tests.gateway import ask, running

MESSAGE = message("One two three four", input_tokens=5, output_tokens=50)
OPENING = 1_000_000 * NANOS_PER_CREDIT


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_while_the_charge_can_be_written_nowhere_there_is_no_end_and_nobody_pays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_stream: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 200)
    async with running(tmp_path) as gate:
        key = await gate.key()
        (tmp_path / "home" / "spool").mkdir()  # Where a settle would wait for the database, nothing can be written.
        with ledger(tmp_path) as other:

            def lock_then_answer(seen: Seen) -> Play:
                other.execute("BEGIN IMMEDIATE")  # The hold is durable by now; from here on nothing else can be.
                return stream(MESSAGE) if seen.document.get("stream") else plain(MESSAGE)

            gate.upstream.play(lock_then_answer)
            rider = await Rider.ask(gate, key, ask(stream=is_stream))
            await rider.until(b'"request_id":"req_')
            assert b"message_stop" not in rider.seen and b"database_unavailable" in rider.seen
            if is_stream:
                await rider.whole()
                assert [event["type"] for event in rider.events[-2:]] == ["message_delta", "error"]
            else:
                assert rider.status == 503 and b"One two three" not in rider.seen
            rider.leave()
            posted, held = await gate.books()
            assert posted == OPENING and held > 0, "nobody paid, and the hold is still open"

        (receipt,) = await gate.settled(key)
        assert (receipt["state"], receipt["charged"]) == ("released", "0"), "it came back once it could be written"
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_while_the_database_is_away_the_charge_is_kept_on_our_own_disk_and_the_end_is_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_stream: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 200)
    spool = tmp_path / "home" / "spool"
    async with running(tmp_path) as gate:
        key = await gate.key()
        with ledger(tmp_path) as other:

            def lock_then_answer(seen: Seen) -> Play:
                other.execute("BEGIN IMMEDIATE")
                return stream(MESSAGE) if seen.document.get("stream") else plain(MESSAGE)

            gate.upstream.play(lock_then_answer)
            answer = await (gate.stream(key) if is_stream else gate.message(key))
            assert answer.status_code == 200
            assert spool.exists(), "before the end was seen, the charge was durable"
            assert "\nfaregate_spooled 1.0\n" in (await gate.get("/metrics")).text
            refused = await gate.message(key)
            assert refused.status_code == 503 and "database_unavailable" in refused.text, "no new hold meanwhile"
            posted, held = await gate.books()
            assert posted == OPENING and held > 0

        (receipt,) = [found for found in await gate.settled(key) if found["state"] == "settled"]
        assert receipt["charged"] != "0"
        assert (await gate.books())[1] == 0
        async with asyncio.timeout(20):
            while spool.exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
        assert "\nfaregate_spooled 0.0\n" in (await gate.get("/metrics")).text
