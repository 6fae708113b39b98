"""CONTRACT 5.6, 5.7, 8 and 9: several replicas on one PostgreSQL are one gateway.

Wherever a call comes in, it is judged by what all of them have done.

Method: two whole gateways with a data folder, a name and a scripted upstream of their own, on one database.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faregate.core.money import NANOS_PER_CREDIT, show_credits
from faregate.edge import desk
from faregate.upstreams.script import Play, Script, Seen, plain, stream
from tests.contract.answers import refused
from tests.contract.riders import message, until
from tests.contract.test_concurrency import AFFORDED, CALLERS, COST, Barrier, ceiling_of
from tests.gateway import Gate, ask, running
from tests.postgres import URL

GOOD = message(input_tokens=5, output_tokens=3)
OPENING = 1_000_000 * NANOS_PER_CREDIT


@contextlib.asynccontextmanager
async def replicas(database: Path, *, script: Script | None = None) -> AsyncIterator[tuple[Gate, Gate]]:
    async with contextlib.AsyncExitStack() as stack:
        gates = []
        for name in ("one", "two"):
            folder = database / name
            folder.mkdir()
            (folder / URL).write_text((database / URL).read_text())
            environ = {"FAREGATE_SERVER_NODE": name}
            gates.append(await stack.enter_async_context(running(folder, script=script, environ=environ)))
        yield gates[0], gates[1]


def sent(*gates: Gate) -> int:
    """How often an upstream was asked."""
    return sum(len(gate.upstream.log) for gate in gates)


def always(seen: Seen) -> Play:
    return stream(GOOD) if seen.document.get("stream") else plain(GOOD)


async def test_a_key_and_a_receipt_of_one_replica_are_known_to_the_other_at_once(database: Path) -> None:
    async with replicas(database, script=always) as (one, two):
        key = await one.key()
        answer = await two.message(key)

        assert answer.status_code == 200
        assert (await one.receipt(key, answer.json()["id"]))["charged"] == answer.headers["x-credits-charged"]
        assert [receipt["id"] for receipt in await one.receipts(key)] == [answer.json()["id"]]
        assert await one.books() == await two.books() == (OPENING - COST, 0)


async def test_a_key_that_is_revoked_on_one_replica_is_refused_by_the_other_on_its_next_call(database: Path) -> None:
    async with replicas(database, script=always) as (one, two):
        key = await one.key()
        assert (await two.message(key)).status_code == 200
        await desk.key_revoke(one.running.desk, desk.Asked(name=key.split("_")[0].removeprefix("sk-fare-")))
        answer = await two.message(key)

        refused(answer, 401, "authentication_error", "key_revoked")
        assert sent(two) == 1
        async with asyncio.timeout(20):
            while (await two.get("/v1/wallet", key)).status_code != 401:  # noqa: ASYNC110 - the answer alone tells
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("cap", ["wallet", "quota", "spend_5h"])
async def test_of_callers_on_both_replicas_exactly_so_many_are_let_in_as_there_is_money_for(
    database: Path, cap: str
) -> None:
    barrier = Barrier()
    async with replicas(database, script=barrier) as (one, two):
        held = await ceiling_of(one)
        money = show_credits(AFFORDED * held + held - 1_000)
        caps: dict[str, Any] = {"credits": money} if cap == "wallet" else {cap: money}
        key = await one.key("shared", **caps)
        calls = [asyncio.ensure_future(gate.message(key)) for _ in range(CALLERS // 2) for gate in (one, two)]
        await until(lambda: sum(call.done() for call in calls) >= CALLERS - AFFORDED)
        await until(lambda: sent(one, two) >= AFFORDED)
        assert (sum(call.done() for call in calls), sent(one, two)) == (CALLERS - AFFORDED, AFFORDED)
        barrier.open(one)
        barrier.open(two)
        answers: list[httpx2.Response] = await asyncio.gather(*calls)

        status = 429 if cap == "spend_5h" else 402
        assert sorted(answer.status_code for answer in answers) == [200] * AFFORDED + [status] * (CALLERS - AFFORDED)
        posted, held = await one.books("shared")
        assert held == 0 and posted % 1_000 == 0
        assert posted == (await two.books("shared"))[0]


async def test_a_call_on_one_replica_fills_the_keys_concurrency_on_the_other(database: Path) -> None:
    def slow(seen: Seen) -> Play:
        return stream(GOOD, gap_ms=10_000) if seen.document.get("stream") else plain(GOOD)

    async with replicas(database, script=slow) as (one, two):
        key = await one.key(concurrency=1)
        headers = {"x-api-key": key}
        async with one.client.stream("POST", "/v1/messages", headers=headers, json=ask(stream=True)) as answer:
            assert answer.status_code == 200
            busy = await two.message(key)
            refused(busy, 429, "rate_limit_error", "concurrency", retried=True, wait=True)
        await two.settled(key)
        assert (await two.message(key)).status_code == 200


async def test_requests_a_minute_are_counted_over_both(database: Path) -> None:
    async with replicas(database, script=always) as (one, two):
        key = await one.key(requests_per_minute=2)
        left = [(await gate.message(key)).headers["anthropic-ratelimit-requests-remaining"] for gate in (one, two)]

        assert left == ["1", "0"]
        for gate in (one, two):
            refused(await gate.message(key), 429, "rate_limit_error", "requests", retried=True, wait=True)
        assert sent(one, two) == 2


async def test_of_duplicates_on_both_replicas_one_is_made_and_billed(database: Path) -> None:
    async with replicas(database, script=always) as (one, two):
        key = await one.key()
        answers = await asyncio.gather(
            *(gate.message(key, idempotency_key="once") for _ in range(32) for gate in (one, two))
        )

        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 63
        assert sent(one, two) == 1
        (made,) = [answer.json()["id"] for answer in answers if answer.status_code == 200]
        for gate in (one, two):
            again = await gate.message(key, idempotency_key="once")
            assert again.json()["error"]["details"]["receipt"]["id"] == made
            other = await gate.message(key, ask(max_tokens=99), idempotency_key="once")
            assert other.status_code == 422
        assert await two.books() == (OPENING - COST, 0)
