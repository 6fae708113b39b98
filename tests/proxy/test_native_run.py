"""An upstream's batch goes to its end, or back to the queue with what it may have cost, whatever upstream does.

Method: whole gateways on each database with a peer that has batches; where an answer must wait, it is played by hand.
"""

from pathlib import Path

import msgspec
import pytest

from faregate.core.native_batch import GiveBack
from faregate.edge import desk
from faregate.proxy import native_run
from faregate.upstreams.script import End, Play, plain
from tests.contract.batches import COST, GOOD, LEFT, OPENING, PATH, made, over
from tests.contract.handmade import by_hand
from tests.contract.natives import good, hasten, native
from tests.contract.riders import until
from tests.gateway import MODEL, ask, looking
from tests.upstreams.batch_peer import BatchPeer


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_what_a_revoked_key_has_waiting_is_not_handed_over(folder: Path) -> None:
    peer = BatchPeer(good)
    async with native(folder, peer, toml=LEFT) as gate:
        key, other = await gate.key(), await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await desk.key_revoke(gate.running.desk, desk.Asked(name=key.split("_")[0].removeprefix("sk-fare-")))
    async with native(folder, peer) as gate:
        assert (await over(gate, other, batch_id))["request_counts"]["errored"] == 1
        assert not peer.asked
        assert await gate.books() == (OPENING, 0)


async def test_an_answer_that_never_came_is_a_possible_cost_and_each_request_a_call(folder: Path) -> None:
    peer = BatchPeer(good, calls=plain(GOOD))
    peer.after_taking = [Play(ending=End.RESET, frames=(b"x",), ending_after=0)]
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2
        with looking(folder) as ledger:
            (estimated,) = ledger.execute("SELECT SUM(estimated) FROM charge").fetchone()

        assert (await gate.running.store.office.operator_accounts())["error_loss"] == -estimated
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_an_upstream_that_cannot_be_reached_costs_nothing_and_is_asked_again(folder: Path) -> None:
    peer = BatchPeer(good)
    async with native(folder, peer) as gate:
        await peer.server.stop()
        key = await gate.key()
        await made(gate, key, "a")

        def times() -> int:
            with looking(folder) as ledger:
                (count,) = ledger.execute("SELECT COUNT(*) FROM native_batch WHERE state = 'ended'").fetchone()
            return int(count)

        await until(lambda: times() >= 2)
        with looking(folder) as ledger:
            rows = ledger.execute("SELECT tries, crashes, wasted FROM batch_request").fetchall()
        assert [tuple(row) for row in rows] == [(0, 0, 0)]


async def test_a_batch_that_upstream_knows_no_more_is_given_up_and_booked(folder: Path) -> None:
    peer = BatchPeer(good, polls=10**6, calls=plain(GOOD))
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await until(lambda: bool(peer.batches))
        peer.batches.clear()
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 1

        assert (await gate.running.store.office.operator_accounts())["error_loss"] < 0
        assert await gate.books() == (OPENING - COST, 0)


async def test_results_that_never_come_whole_are_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_run, "READS_MAX", 3)
    peer = BatchPeer(good, polls=0, calls=plain(GOOD))
    peer.reads = [Play(frames=(b"x",), framing="chunked", ending=End.RESET)] * 3
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 1

        assert not peer.billed and not peer.reads
        assert (await gate.running.store.office.operator_accounts())["error_loss"] < 0


async def test_a_batch_that_was_given_up_for_lost_before_upstream_answered_is_canceled_there(folder: Path) -> None:
    async with by_hand(folder, entry="batches = true\n") as (gate, upstream):
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        turn = await upstream.turn()
        natives = gate.running.store.natives
        (open_one,) = await natives.open()
        await natives.give_back(GiveBack(native=open_one, again_at_ms=10**15, tried=True), 0)
        body = msgspec.json.encode({"id": "theirs", "processing_status": "in_progress"})
        turn.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        turn = await upstream.turn()

        assert turn.head.startswith(b"POST /v1/messages/batches/theirs/cancel ")
        assert batch_id.startswith("msgbatch_")
        turn.close()


async def test_a_result_that_we_stumble_over_keeps_no_other_from_being_settled(folder: Path) -> None:
    peer = BatchPeer(good, polls=10**6, calls=plain(GOOD))
    async with native(folder, peer) as gate:
        key = await gate.key()
        requests = [{"custom_id": name, "params": ask(model=name)} for name in (MODEL, "my-own-name")]
        batch_id = (await gate.post(PATH, key, {"requests": requests})).json()["id"]
        await until(lambda: bool(peer.batches))
        prices = gate.running.store.prices
        (theirs,) = peer.batches.values()
        versions = prices._versions
        prices._versions = []
        theirs.polls = 1

        def stumbled() -> int:
            with looking(folder) as ledger:
                (count,) = ledger.execute("SELECT COUNT(*) FROM batch_request WHERE wasted > 0").fetchone()
            return int(count)

        await until(lambda: stumbled() == 2)
        prices._versions = versions
        found = await over(gate, key, batch_id)

        assert found["request_counts"]["succeeded"] == 2 and len(peer.billed) == 2
        assert (await gate.running.store.office.operator_accounts())["error_loss"] < 0
        assert await gate.books() == (OPENING - 2 * COST, 0)
