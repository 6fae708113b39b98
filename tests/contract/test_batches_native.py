"""Issue 5: a batch is processed against upstreams that have batches, settled per result at half price.

Method: whole gateways on each database, the official SDK on one side and a peer that has batches on the other; the
receipts against that peer's log, and the books.
"""

from pathlib import Path
from typing import Any

import pytest

from faregate.store import natives
from faregate.upstreams.script import End, Play, failure, plain
from tests.contract.batches import COST, GOOD, OPENING, PATH, body, ended, left, made, over, results, sdk
from tests.contract.natives import good, hasten, native
from tests.contract.riders import until
from tests.gateway import UPSTREAM_KEY, ask, looking
from tests.upstreams.batch_peer import BatchPeer, errored, succeeded


def saying(*texts: str) -> dict[str, Any]:
    """A batch whose requests say one word each, under that name."""
    return {
        "requests": [{"custom_id": text, "params": ask(messages=[{"role": "user", "content": text}])} for text in texts]
    }


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


async def test_a_batch_is_run_by_its_upstream_as_one_and_billed_at_half(folder: Path) -> None:
    peer = BatchPeer(good)
    names = [f"r{number}" for number in range(150)]
    async with native(folder, peer) as gate:
        key = await gate.key()
        async with sdk(gate, key) as client:
            requests = body(*names, model="my-own-name", stream=False)["requests"]
            batch = await client.messages.batches.create(requests=requests)
            found = await ended(client, batch.id)
            lines = await results(client, batch.id)

        assert found.request_counts.succeeded == 150 and list(lines) == names
        assert len(peer.batches) == 1 and {seen.path.split("?")[0].split("/")[3] for seen in peer.asked} == {"batches"}
        receipts = {receipt["id"]: receipt for receipt in await gate.receipts(key)}
        assert sorted(receipts) == sorted(peer.billed) and len(peer.billed) == 150
        assert {receipt["service_tier"] for receipt in receipts.values()} == {"batch"}
        for line in lines.values():
            assert line.result.type == "succeeded"
            assert line.result.message.id in receipts and line.result.message.model == "my-own-name"
            assert line.result.message.usage.service_tier == "batch"
        assert await gate.books() == (OPENING - 150 * COST, 0)
        assert {(await gate.record(key, id_)).upstream for id_ in list(receipts)[:3]} == {"native"}
        assert peer.asked[0].headers["x-api-key"] == UPSTREAM_KEY


async def test_what_errored_expired_or_was_canceled_there_is_free(folder: Path) -> None:
    def result(custom_id: str, params: dict[str, Any]) -> dict[str, Any]:
        text = params["messages"][0]["content"]
        said = {"bad": errored("invalid_request_error", "messages: no"), "late": {"type": "expired"}}
        return said.get(text, succeeded(GOOD))

    peer = BatchPeer(result)
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await gate.post(PATH, key, saying("fine", "bad", "late"))).json()["id"]
        counts = (await over(gate, key, batch_id))["request_counts"]
        async with sdk(gate, key) as client:
            lines = await results(client, batch_id)

        assert (counts["succeeded"], counts["errored"], counts["expired"]) == (1, 1, 1)
        assert lines["bad"].result.type == "errored"
        assert lines["bad"].result.error.error.message == "messages: no"
        assert lines["late"].result.type == "expired"
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_cancellation_is_passed_on(folder: Path) -> None:
    peer = BatchPeer(good, polls=10**6)
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        await until(lambda: len(peer.asked) > 3)
        await gate.post(f"{PATH}/{batch_id}/cancel", key, b"")
        counts = (await over(gate, key, batch_id))["request_counts"]

        assert counts["canceled"] == 2 and not peer.billed
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("node", ["main", "another"])
async def test_who_is_started_next_asks_on_after_what_was_handed_over(
    folder: Path, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = BatchPeer(good, polls=10**6)
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        await until(lambda: len(peer.asked) > 3)
    assert len(peer.batches) == 1
    peer.batches["msgbatch_theirs0"].polls = 1
    monkeypatch.setattr(natives, "DEAD_MS", 0)
    async with native(folder, peer, node=node) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2
        assert len(peer.batches) == 1 and len(peer.billed) == 2
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_who_dies_before_upstream_has_answered_runs_it_again_and_books_what_it_may_have_cost(
    folder: Path,
) -> None:
    peer = BatchPeer(good, calls=plain(GOOD))
    peer.after_taking = [Play(ending=End.STALL, frames=(b"x",), ending_after=0, head_delay_ms=10**6)]
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        await until(lambda: len(peer.asked) == 1)
        await gate.running.worker.close(0)
        with looking(folder) as ledger:
            states = ledger.execute("SELECT state FROM native_batch").fetchall()
            (estimated,) = ledger.execute("SELECT SUM(estimated) FROM charge").fetchone()
        assert [tuple(row) for row in states] == [("submitting",)]
    async with native(folder, peer) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2
        assert len(peer.batches) == 1 and not peer.billed
        assert await gate.books() == (OPENING - 2 * COST, 0)
        assert (await gate.running.store.office.operator_accounts())["crash_loss"] == -estimated < 0


@pytest.mark.parametrize("status", [400, 404])
async def test_an_upstream_that_refuses_a_batch_as_a_whole_is_asked_call_by_call(folder: Path, status: int) -> None:
    peer = BatchPeer(good, calls=plain(GOOD))
    peer.refusals = [failure(status, "invalid_request_error", "no")]
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2

        assert not peer.batches and [seen.path for seen in peer.asked[1:]] == ["/v1/messages"] * 2
        assert await gate.books() == (OPENING - 2 * COST, 0)


@pytest.mark.parametrize(
    "refusal", [failure(429, "rate_limit_error", "no", retry_after="0"), failure(503, "api_error", "no")]
)
async def test_an_upstream_in_trouble_is_asked_again_later_for_all_of_it(folder: Path, refusal: Play) -> None:
    peer = BatchPeer(good)
    peer.refusals = [refusal, refusal]
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a", "b"))["id"]
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2

        assert len(peer.batches) == 1 and not any(seen.path == "/v1/messages" for seen in peer.asked)
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_results_that_break_off_are_read_again_and_bill_nothing_twice(folder: Path) -> None:
    peer = BatchPeer(good)
    names = [f"r{number}" for number in range(20)]
    async with native(folder, peer) as gate:
        key = await gate.key()

        def broken() -> Play:
            whole = peer._results(peer.batches["msgbatch_theirs0"])
            peer.billed.clear()
            return Play(frames=whole.frames, framing="chunked", ending=End.RESET, ending_after=6)

        batch_id = (await made(gate, key, *names))["id"]
        await until(lambda: bool(peer.batches))
        peer.reads = [broken(), failure(500, "api_error", "no")]
        counts = (await over(gate, key, batch_id))["request_counts"]

        assert counts["succeeded"] == 20 and len(peer.billed) == 20
        assert await gate.books() == (OPENING - 20 * COST, 0)


async def test_what_has_no_readable_result_is_run_call_by_call(folder: Path) -> None:
    def result(custom_id: str, params: dict[str, Any]) -> dict[str, Any]:
        text = params["messages"][0]["content"]
        return {"type": "unheard-of"} if text == "new" else {"type": "succeeded", "message": {"type": "nonsense"}}

    peer = BatchPeer(result, calls=plain(GOOD))
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await gate.post(PATH, key, saying("new", "old"))).json()["id"]

        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 2
        assert sum(seen.path == "/v1/messages" for seen in peer.asked) == 2
        assert (await gate.running.store.office.operator_accounts())["error_loss"] < 0, "what was made and not read"
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_where_batches_are_not_asked_for_each_request_is_a_call(folder: Path) -> None:
    peer = BatchPeer(good, calls=plain(GOOD))
    async with native(folder, peer, entry="") as gate:
        key = await gate.key()
        await over(gate, key, (await made(gate, key, "a", "b"))["id"])

        assert not peer.batches and [seen.path for seen in peer.asked] == ["/v1/messages"] * 2
        assert await gate.books() == (OPENING - 2 * COST, 0)


async def test_an_upstream_that_is_no_longer_configured_gives_back_what_it_ran(folder: Path) -> None:
    peer = BatchPeer(good, polls=10**6)
    async with native(folder, peer) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await until(lambda: len(peer.asked) > 3)
    async with left(folder) as gate:
        assert (await gate.get(f"{PATH}/{batch_id}", key)).json()["processing_status"] == "in_progress"
        assert (await gate.books())[0] == OPENING
