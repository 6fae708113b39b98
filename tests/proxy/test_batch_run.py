"""A request of a batch ends with a message and a bill, or with an error and none, however often it was run.

Method: a whole gateway on each database with a scripted upstream; its books afterwards.
"""

from pathlib import Path

import pytest

from faregate.core import batch as rules
from faregate.core.batch_commands import Again
from faregate.core.pricing import PriceVersion
from faregate.edge import desk
from faregate.store.prices import Prices
from faregate.upstreams.script import Play, Seen, failure, plain
from tests.contract.batches import COST, GOOD, OPENING, PATH, body, ended, good, left, made, over, results, sdk
from tests.contract.handmade import by_hand
from tests.gateway import looking, running


async def test_what_upstream_refuses_is_an_errored_result_and_free(folder: Path) -> None:
    async with running(folder, script=[failure(400, "invalid_request_error", "messages: no")]) as gate:
        key = await gate.key()
        async with sdk(gate, key) as client:
            made = await client.messages.batches.create(requests=body("bad")["requests"])
            over = await ended(client, made.id)
            line = (await results(client, made.id))["bad"]

        assert over.request_counts.errored == 1
        assert line.result.type == "errored"
        assert (line.result.error.type, line.result.error.error.type) == ("error", "invalid_request_error")
        assert line.result.error.error.message == "messages: no"
        assert await gate.books() == (OPENING, 0)


async def test_an_upstream_in_trouble_is_asked_again_later_and_the_request_is_billed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAUSE_MS", 10)
    script = [failure(529, "overloaded_error", "no", retry_after="0") for _ in range(2)] + [plain(GOOD)]
    async with running(folder, script=script, toml="[retry]\nattempts_max = 1") as gate:
        async with sdk(gate, await gate.key()) as client:
            made = await client.messages.batches.create(requests=body("late")["requests"])
            assert (await ended(client, made.id)).request_counts.succeeded == 1

        assert len(gate.upstream.log) == 3
        assert await gate.books() == (OPENING - COST, 0)


async def test_an_upstream_that_stays_in_trouble_is_an_errored_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAUSE_MS", 1)

    def down(seen: Seen) -> Play:
        return failure(500, "api_error", "no", retry_after="0")

    async with running(folder, script=down, toml="[retry]\nattempts_max = 1") as gate:
        async with sdk(gate, await gate.key()) as client:
            made = await client.messages.batches.create(requests=body("never")["requests"])
            assert (await ended(client, made.id)).request_counts.errored == 1
            line = (await results(client, made.id))["never"]

        assert line.result.type == "errored" and line.result.error.error.type == "api_error"
        assert len(gate.upstream.log) == rules.TRIES_MAX
        assert await gate.books() == (OPENING, 0)


async def test_an_outage_is_waited_for_and_counted_against_no_request(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAUSE_MS", 1)
    monkeypatch.setattr(rules, "OUTAGE_PAUSE_MS", 1)
    monkeypatch.setattr(rules, "OUTAGE_REST_S", 0)
    script = [failure(500, "api_error", "no") for _ in range(2 * rules.TRIES_MAX)] + [plain(GOOD)]
    toml = "[retry]\nattempts_max = 1\n[breaker]\nfailures_max = 2\nrest_s = 50"
    async with running(folder, script=script, toml=toml) as gate:
        async with sdk(gate, await gate.key()) as client:
            made = await client.messages.batches.create(requests=body("patient")["requests"])
            assert (await ended(client, made.id)).request_counts.succeeded == 1

        assert len(gate.upstream.log) == 2 * rules.TRIES_MAX + 1
        assert await gate.books() == (OPENING - COST, 0)


async def test_an_outage_in_which_upstream_may_bill_each_try_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAUSE_MS", 1)
    monkeypatch.setattr(rules, "OUTAGE_PAUSE_MS", 3_600_000)
    monkeypatch.setattr(rules, "TRIES_MAX", 2)
    deadline = "timeouts = { first_byte_s = 0.05, total_s = 0.05 }\n"
    toml = "[retry]\nattempts_max = 1\n[breaker]\nfailures_max = 1\nrest_s = 50"
    async with by_hand(folder, entry=deadline, toml=toml) as (gate, upstream):
        async with sdk(gate, await gate.key()) as client:
            made = await client.messages.batches.create(requests=body("silent")["requests"])
            assert (await ended(client, made.id)).request_counts.errored == 1

        assert upstream.turns == 2
        assert (await gate.running.store.office.operator_accounts())["error_loss"] < 0


async def test_what_a_revoked_key_has_waiting_is_not_run(folder: Path) -> None:
    async with left(folder) as gate:
        key, other = await gate.key(), await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        await desk.key_revoke(gate.running.desk, desk.Asked(name=key.split("_")[0].removeprefix("sk-fare-")))
    async with running(folder, script=good) as gate:
        found = await over(gate, other, batch_id)
        lines = (await gate.get(f"{PATH}/{batch_id}/results", other)).text

        assert found["request_counts"]["errored"] == 1
        assert '"error_code":"key_revoked"' in lines
        assert not gate.upstream.log
        assert await gate.books() == (OPENING, 0)


async def test_a_gateway_that_stops_puts_back_what_it_was_running_and_keeps_it_held(folder: Path) -> None:
    async with by_hand(folder) as (gate, upstream):
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        turn = await upstream.turn()
        held = (await gate.books())[1]
        await gate.running.worker.close(0)
        await turn.gone()
        with looking(folder) as ledger:
            row = ledger.execute("SELECT state, tries, crashes, wasted FROM batch_request").fetchone()

        assert tuple(row[:3]) == ("waiting", 0, 0) and row[3] > 0, "what upstream may bill for it is kept in mind"
        assert await gate.books() == (OPENING, held) and held > 0
    async with running(folder, script=good) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 1
        assert (await gate.running.store.office.operator_accounts())["error_loss"] == -row[3]
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_request_that_its_gateway_has_died_of_three_times_is_not_run_a_fourth_time(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
        queue = gate.running.store.batches
        ((wallet_id, _),) = await queue.waiting(gate.running.gate.now_ms())
        ticket = await queue.claim(wallet_id, batch_id, gate.running.gate.now_ms())
        assert ticket is not None
        await queue.put_back(
            Again(ticket=ticket, again_at_ms=0, tries=0, crashes=rules.CRASHES_MAX, wasted=ticket.wasted)
        )
    async with running(folder, script=good) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["errored"] == 1
        assert not gate.upstream.log
        assert await gate.books() == (OPENING, 0)


async def test_a_price_version_that_is_not_known_here_yet_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "PAUSE_MS", 10)
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, "a"))["id"]
    first = Prices.versions
    asked = []

    def late(prices: Prices) -> list[PriceVersion]:
        asked.append(1)
        return first(prices) if len(asked) > 1 else []

    monkeypatch.setattr(Prices, "versions", late)
    async with running(folder, script=good) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 1
        assert len(asked) == 2
        assert await gate.books() == (OPENING - COST, 0)
