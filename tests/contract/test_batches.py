"""WIRE 8, CONTRACT 5: a batch is held when it is made, run from a queue, and billed once per request at half price.

Method: the official Python SDK against a whole gateway on each database, with a scripted upstream; every result's
receipt is compared with the arithmetic of its usage, and the books are audited.
"""

from pathlib import Path

from faregate.core.money import NANOS_PER_CREDIT, show_credits
from tests.contract.answers import refused
from tests.contract.batches import COST, OPENING, PATH, body, ended, good, results, sdk
from tests.gateway import ASK, MODEL, running


async def test_a_batch_made_with_the_sdk_is_held_run_and_billed_at_half_price(folder: Path) -> None:
    async with running(folder, script=good) as gate:
        key = await gate.key()
        async with sdk(gate, key) as client:
            made = await client.messages.batches.create(requests=body("one", "two", "three")["requests"])
            assert (made.type, made.processing_status, made.results_url) == ("message_batch", "in_progress", None)
            assert made.request_counts.processing == 3 and made.ended_at is None
            assert (made.expires_at - made.created_at).total_seconds() == 86_400
            over = await ended(client, made.id)
            lines = await results(client, made.id)

        assert over.request_counts.model_dump() == {
            "canceled": 0, "errored": 0, "expired": 0, "processing": 0, "succeeded": 3
        }  # fmt: skip
        assert over.results_url == f"{gate.base_url}{PATH}/{made.id}/results"
        assert set(lines) == {"one", "two", "three"}
        for line in lines.values():
            assert line.result.type == "succeeded"
            assert line.result.message.usage.service_tier == "batch"
            assert line.result.message.model == MODEL
            receipt = await gate.receipt(key, line.result.message.id)
            assert (receipt["state"], receipt["charged"]) == ("settled", show_credits(COST))
            assert receipt["service_tier"] == "batch"
        assert {receipt["id"] for receipt in await gate.receipts(key)} == {
            line.result.message.id for line in lines.values() if line.result.type == "succeeded"
        }
        assert len(gate.upstream.log) == 3
        assert await gate.books() == (OPENING - 3 * COST, 0)


async def test_the_ceilings_at_half_price_are_held_from_the_start(folder: Path) -> None:
    async with running(folder, script=good, toml="[batches]\nconcurrency = 0") as gate:
        key = await gate.key()
        quoted = (await gate.post("/v1/messages/quote", key, ASK)).json()
        made = await gate.post(PATH, key, body("one", "two"))

        held = (await gate.books())[1]
        ceiling = int(float(quoted["credits_max"]) * NANOS_PER_CREDIT)
        assert held == 2 * (ceiling // 2) > 0
        assert made.headers["x-credits-max"] == show_credits(held)
        assert made.headers["x-credits-remaining"] == show_credits(OPENING - held)
        assert [receipt["state"] for receipt in await gate.receipts(key)] == ["reserved", "reserved"]


async def test_a_wallet_that_does_not_cover_all_of_it_is_402_and_nothing_is_held(folder: Path) -> None:
    async with running(folder, script=good) as gate:
        key = await gate.key(credits="1000")
        answer = await gate.post(PATH, key, body(*(f"r{number}" for number in range(200)), max_tokens=8_000))

        error = refused(answer, 402, "billing_error", "insufficient_credits")
        assert float(error["details"]["required"]) > float(error["details"]["available"]) == 1000
        assert await gate.books() == (1_000 * NANOS_PER_CREDIT, 0)
        assert (await gate.get(PATH, key)).json()["data"] == []
        assert await gate.receipts(key) == []
