"""CONTRACT 5.6: under any concurrency nobody spends money that is not there.

Method: many callers at once on one wallet, a key's quota or a spend window; an upstream that answers nobody until
everybody has been judged; then the count of those let in is exact arithmetic and not a matter of luck.
"""

import asyncio
from pathlib import Path

import httpx2
import pytest

from faregate.core.money import parse_credits, show_credits
from faregate.edge import desk, forms
from faregate.upstreams.script import End, Play, Seen, plain, stream
from tests.contract.riders import message, streamed, until
from tests.gateway import ASK, Gate, Streamed, ask, running

CALLERS, AFFORDED = 50, 7
STALL = Play(ending=End.STALL, raw=b"")
GOOD = message(input_tokens=5, output_tokens=3)
COST = 5 * 1_000 + 3 * 5_000


class Barrier:
    """A script that keeps the first attempt of every call waiting until it is opened."""

    def __init__(self) -> None:
        self.opened = False

    def __call__(self, seen: Seen) -> Play:
        if not self.opened:
            return STALL
        return stream(GOOD) if seen.document.get("stream") else plain(GOOD)

    def open(self, gate: Gate) -> None:
        """Drop who waits: the retry envelope brings each of them back, and now they are answered."""
        self.opened = True
        gate.upstream.drop()


async def ceiling_of(gate: Gate, body: object = ASK) -> int:
    return parse_credits((await gate.post("/v1/messages/quote", await gate.key("rich"), body)).json()["credits_max"])


async def judged(gate: Gate, calls: list[asyncio.Task[httpx2.Response]], refused: int) -> None:
    """Wait until so many are refused and all others stand at the upstream."""
    await until(lambda: sum(call.done() for call in calls) >= refused)
    await until(lambda: len(gate.upstream.log) >= len(calls) - refused)
    assert (sum(call.done() for call in calls), len(gate.upstream.log)) == (refused, len(calls) - refused)


async def race(
    gate: Gate, barrier: Barrier, calls: list[asyncio.Task[httpx2.Response]], refused: int
) -> list[httpx2.Response]:
    """Let all be judged, then let those who were let in be answered."""
    await judged(gate, calls, refused)
    barrier.open(gate)
    return await asyncio.gather(*calls)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_of_fifty_callers_exactly_seven_are_let_in_by_money_for_seven(
    folder: Path,
    is_stream: bool,  # noqa: FBT001
) -> None:
    barrier, body = Barrier(), ask(stream=is_stream)
    async with running(folder, script=barrier) as gate:
        held = await ceiling_of(gate, body)
        money = AFFORDED * held + held - 1_000
        key = await gate.key("shared", credits=show_credits(money))
        calls = [asyncio.ensure_future(gate.message(key, body)) for _ in range(CALLERS)]
        await judged(gate, calls, CALLERS - AFFORDED)
        posted, taken = await gate.books("shared")

        assert (posted, taken) == (money, AFFORDED * held), "the floor is not touched"
        answers = await race(gate, barrier, calls, CALLERS - AFFORDED)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * AFFORDED + [402] * (CALLERS - AFFORDED)
        assert await gate.books("shared") == (money - AFFORDED * COST, 0)


async def test_a_keys_quota_is_as_exact_as_a_wallet(folder: Path) -> None:
    barrier = Barrier()
    async with running(folder, script=barrier) as gate:
        held = await ceiling_of(gate)
        key = await gate.key("shared", quota=show_credits(AFFORDED * held))
        calls = [asyncio.ensure_future(gate.message(key)) for _ in range(CALLERS)]
        answers = await race(gate, barrier, calls, CALLERS - AFFORDED)

        codes = [a.json()["error"]["details"]["error_code"] for a in answers if a.status_code == 402]
        assert codes == ["quota_exceeded"] * (CALLERS - AFFORDED)
        await gate.books("shared")


async def test_a_spend_window_is_as_exact_as_a_wallet(folder: Path) -> None:
    barrier = Barrier()
    async with running(folder, script=barrier) as gate:
        held = await ceiling_of(gate)
        key = await gate.key("shared", spend_5h=show_credits(AFFORDED * held))
        calls = [asyncio.ensure_future(gate.message(key)) for _ in range(CALLERS)]
        answers = await race(gate, barrier, calls, CALLERS - AFFORDED)

        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == CALLERS - AFFORDED
        for answer in refused:
            assert answer.json()["error"]["details"]["error_code"] == "spend_5h"
            assert answer.headers["x-should-retry"] == "false"
        await gate.books("shared")


async def test_two_keys_of_one_wallet_share_its_money(folder: Path) -> None:
    barrier = Barrier()
    async with running(folder, script=barrier) as gate:
        held = await ceiling_of(gate)
        first = await gate.key("shared", credits=show_credits(AFFORDED * held))
        second = await gate.key("shared")
        calls = [asyncio.ensure_future(gate.message(key)) for _ in range(CALLERS // 2) for key in (first, second)]
        answers = await race(gate, barrier, calls, CALLERS - AFFORDED)

        assert sum(answer.status_code == 200 for answer in answers) == AFFORDED
        assert (await gate.books("shared"))[1] == 0


async def test_whatever_the_order_what_was_charged_is_what_is_gone_and_the_floor_holds(folder: Path) -> None:
    # Upstream reports more than any ceiling here, so that every call that is let in spends the whole of its hold.
    def dear(seen: Seen) -> Play:
        made = message(input_tokens=5, output_tokens=90_000)
        return stream(made) if seen.document.get("stream") else plain(made)

    async with running(folder, script=dear) as gate:
        money = AFFORDED * await ceiling_of(gate, ask(max_tokens=600)) + 123_000
        key = await gate.key("shared", credits=show_credits(money))
        bodies = [ask(max_tokens=600), streamed(max_tokens=600)] * (CALLERS // 2)
        calls = [gate.stream(key, body) if "stream" in body else gate.message(key, body) for body in bodies]
        answers: list[Streamed | httpx2.Response] = await asyncio.gather(*calls)
        posted, held = await gate.books("shared")
        receipts = await gate.receipts(key)

        assert {answer.status_code for answer in answers} == {200, 402}
        assert held == 0 and 0 <= posted < 600 * 5_000
        assert money - posted == sum(parse_credits(receipt["charged"]) for receipt in receipts)
        assert all(receipt["charged"] == receipt["max"] for receipt in receipts)


async def test_a_wallet_with_credit_below_zero_stops_at_its_own_floor(folder: Path) -> None:
    barrier = Barrier()
    async with running(folder, script=barrier) as gate:
        held = await ceiling_of(gate)
        floor = -AFFORDED * held
        form = forms.NewWallet(name="postpaid", floor=show_credits(floor))
        await desk.wallet_create(gate.running.desk, desk.Asked(form=form))
        key = await gate.key("postpaid")
        calls = [asyncio.ensure_future(gate.message(key)) for _ in range(CALLERS)]
        answers = await race(gate, barrier, calls, CALLERS - AFFORDED)

        assert sum(answer.status_code == 200 for answer in answers) == AFFORDED
        assert await gate.books("postpaid") == (-AFFORDED * COST, 0)
