"""A batch through its life: seen by its wallet alone, canceled, deleted, expired, and carried on after a restart.

Method: whole gateways on each database; where it matters what upstream is doing meanwhile, it is played by hand.
"""

from pathlib import Path

import pytest

from faregate.core import batch as rules
from faregate.store import batches as queue
from tests.contract.answers import refused
from tests.contract.batches import COST, OPENING, PATH, ended, good, left, made, over, results, sdk
from tests.gateway import running


async def test_a_canceled_batch_gives_back_what_it_held_and_says_so_of_each_request(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        async with sdk(gate, key) as client:
            batch_id = (await made(gate, key, *(f"r{number}" for number in range(150))))["id"]
            canceled = await client.messages.batches.cancel(batch_id)
            assert canceled.processing_status in ("canceling", "ended") and canceled.cancel_initiated_at is not None
            found = await ended(client, batch_id)
            lines = await results(client, batch_id)
            again = await client.messages.batches.cancel(batch_id)

        assert found.request_counts.canceled == len(lines) == 150
        assert {line.result.type for line in lines.values()} == {"canceled"}
        assert again == found
        assert await gate.books() == (OPENING, 0)
        assert {receipt["state"] for receipt in await gate.receipts(key)} == {"released"}


async def test_what_has_not_begun_in_a_day_expires_and_is_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "LIFE_MS", 1)
    async with left(folder) as gate:
        key = await gate.key()
        found = await over(gate, key, (await made(gate, key, "a", "b"))["id"])
        lines = (await gate.get(f"{PATH}/{found['id']}/results", key)).text.splitlines()

        assert found["request_counts"]["expired"] == 2
        assert lines[0] == '{"custom_id":"a","result":{"type":"expired"}}'
        assert await gate.books() == (OPENING, 0)


async def test_results_are_kept_for_so_long_and_then_archived(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(folder, script=good) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await over(gate, key, batch_id)
        monkeypatch.setattr(queue, "KEPT_MS", -60_000)
        await gate.running.store.batches.forget(gate.running.gate.now_ms())
        found = (await gate.get(f"{PATH}/{batch_id}", key)).json()

        assert found["archived_at"] is not None and found["results_url"] is None
        assert found["request_counts"]["succeeded"] == 1
        refused(await gate.get(f"{PATH}/{batch_id}/results", key), 404, "not_found_error", "not_found")
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_batch_takes_nothing_from_the_keys_concurrency_and_rates(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key(concurrency=1, requests_per_minute=1)
        await made(gate, key, "a", "b", "c")

        assert (await gate.message(key)).status_code == 200


async def test_a_large_batch_is_made_in_steps_and_seen_when_it_is_whole(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(500)), max_tokens=1))["id"]

        found = (await gate.get(f"{PATH}/{batch_id}", key)).json()
        assert found["request_counts"]["processing"] == 500
        assert len(await gate.receipts(key)) == 500
        assert (await gate.books())[1] > 0
