"""CONTRACT 1 and 5: a charge is the usage times the price, to the nanodollar.

Method: an upstream that reports usages written down here, plain and streamed, and the ledger's own figures. What is
expected is multiplied out from the printed price list, never by the code under test.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faregate.core.ledger import Basis, Outcome
from faregate.core.money import NANOS_PER_CREDIT, parse_credits, show_credits
from faregate.edge import desk, forms
from faregate.upstreams.script import Play, events, frame, frames_of, plain, stream
from faregate.wire.usage import Usage
from tests.contract.riders import loss, message, until
from tests.gateway import ASK, Streamed, ask, running

INPUT, OUTPUT, WRITE_5M, WRITE_1H, READ = 1_000, 5_000, 1_250, 2_000, 100
"""claude-haiku-4-5 as printed: 1.00 / 5.00 / 1.25 / 2.00 / 0.10 USD per million tokens, in nanodollars a token."""

OPENING = 1_000_000 * NANOS_PER_CREDIT
ROOMY: dict[str, Any] = ask(
    max_tokens=4_000,
    messages=[{"role": "user", "content": [{"type": "text", "text": "x" * 20_000,
               "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}],
)  # fmt: skip
"""A call whose ceiling is far above every usage below."""

USAGES: dict[str, tuple[dict[str, Any], int]] = {
    "input and output": ({"input_tokens": 11, "output_tokens": 7}, 11 * INPUT + 7 * OUTPUT),
    "one cached token": ({"input_tokens": 0, "cache_read_input_tokens": 1, "output_tokens": 0}, READ),
    "all five columns": (
        {"input_tokens": 101, "output_tokens": 53, "cache_read_input_tokens": 977, "cache_creation_input_tokens": 700,
         "cache_creation": {"ephemeral_5m_input_tokens": 499, "ephemeral_1h_input_tokens": 201}},
        101 * INPUT + 53 * OUTPUT + 977 * READ + 499 * WRITE_5M + 201 * WRITE_1H,
    ),
    "five-minute writes": (
        {"input_tokens": 3, "output_tokens": 2, "cache_creation_input_tokens": 640,
         "cache_creation": {"ephemeral_5m_input_tokens": 640, "ephemeral_1h_input_tokens": 0}},
        3 * INPUT + 2 * OUTPUT + 640 * WRITE_5M,
    ),
    "one-hour writes": (
        {"input_tokens": 3, "output_tokens": 2, "cache_creation_input_tokens": 640,
         "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 640}},
        3 * INPUT + 2 * OUTPUT + 640 * WRITE_1H,
    ),
    "writes that come unsplit, when every mark asks for an hour": (
        {"input_tokens": 3, "output_tokens": 2, "cache_creation_input_tokens": 640},
        3 * INPUT + 2 * OUTPUT + 640 * WRITE_1H,
    ),
    "nulls": (
        {"input_tokens": 9, "output_tokens": 4, "cache_read_input_tokens": None, "cache_creation_input_tokens": None,
         "cache_creation": None},
        9 * INPUT + 4 * OUTPUT,
    ),
    "explicit zeros": (
        {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0,
         "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}},
        0,
    ),
    "figures beside the counts, which are never added": (
        {"input_tokens": 6, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 4},
         "service_tier": "standard", "server_tool_use": None},
        6 * INPUT + 5 * OUTPUT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_charge_is_usage_times_price_to_the_nanodollar(folder: Path, is_stream: bool) -> None:  # noqa: FBT001
    plays = [stream(message(**usage)) if is_stream else plain(message(**usage)) for usage, _ in USAGES.values()]
    async with running(folder, script=plays) as gate:
        key, spent = await gate.key(), 0
        for name, (_, cost) in USAGES.items():
            if is_stream:
                message_id = (await gate.stream(key, ROOMY)).id
            else:
                answer = await gate.message(key, ROOMY)
                message_id = answer.json()["id"]
                assert answer.headers["x-credits-charged"] == show_credits(cost), name
            record = await gate.record(key, message_id)
            spent += cost

            assert (record.charged, record.shortfall) == (cost, 0), name
            assert (record.outcome, record.basis) == (Outcome.OK, Basis.UPSTREAM), name
            assert await gate.books() == (OPENING - spent, 0), name


async def test_a_receipt_shows_the_usage_in_its_own_columns_and_the_charge_in_credits(folder: Path) -> None:
    usage, cost = USAGES["all five columns"]
    async with running(folder, script=[stream(message(**usage))]) as gate:
        key = await gate.key()
        answer = await gate.stream(key, ROOMY)
        receipt = await gate.receipt(key, answer.id)

        assert receipt["charged"] == show_credits(cost) == "1489.45"
        assert receipt["usage"]["input_tokens"] == 101
        assert receipt["usage"]["output_tokens"] == 53
        assert receipt["usage"]["cache_read_input_tokens"] == 977
        assert receipt["usage"]["cache_creation"] == {
            "ephemeral_5m_input_tokens": 499,
            "ephemeral_1h_input_tokens": 201,
        }
        assert (receipt["price_version"], receipt["shortfall"]) == (gate.price().id, "0")
        assert receipt["max"] == answer.headers["x-credits-max"]


async def test_a_deltas_totals_overwrite_what_the_start_said_by_presence(folder: Path) -> None:
    start = {"input_tokens": 25, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 40, "output_tokens": 3,
             "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30}}  # fmt: skip
    frames = frames_of(message(**start))
    totals = {
        "input_tokens": 40,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": None,
        "output_tokens": 12,
    }
    first = frame("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 900})
    last = frame("message_delta", delta={"stop_reason": "end_turn"}, usage=totals)
    async with running(folder, script=[events([*frames[:-2], first, last, frames[-1]])]) as gate:
        key = await gate.key()
        record = await gate.record(key, (await gate.stream(key, ROOMY)).id)

        assert record.usage == Usage(input=40, output=12, cache_read=0, cache_write_5m=10, cache_write_1h=30)
        assert record.charged == 40 * INPUT + 12 * OUTPUT + 10 * WRITE_5M + 30 * WRITE_1H
        assert await gate.books() == (OPENING - record.charged, 0)


def _nonsense(bad: Any, *, is_stream: bool) -> Play:
    usage = {"cache_read_input_tokens": bad, "output_tokens": bad}
    made = message(input_tokens=8)
    if not is_stream:
        return plain({**made, "usage": {"input_tokens": 8, **usage}})
    frames = frames_of(made)
    return events([*frames[:-2], frame("message_delta", delta={"stop_reason": "end_turn"}, usage=usage), frames[-1]])


def _id(answer: Streamed | httpx2.Response) -> str:
    return answer.id if isinstance(answer, Streamed) else str(answer.json()["id"])


NONSENSE: list[Any] = [-1, 1.5, "12", True, 10**18, [], {}]


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_nonsense_in_a_usage_counts_as_absent_and_never_costs_more_than_was_held(
    folder: Path,
    is_stream: bool,  # noqa: FBT001
) -> None:
    plays = [_nonsense(bad, is_stream=is_stream) for bad in NONSENSE]
    async with running(folder, script=plays) as gate:
        key, spent = await gate.key(), 0
        for bad in NONSENSE:
            answer = await (gate.stream(key) if is_stream else gate.message(key))
            assert answer.status_code == 200, bad
            record = await gate.record(key, _id(answer))
            spent += record.charged

            assert record.basis is Basis.COUNTED, bad
            assert (record.usage.input, record.usage.cache_read, record.shortfall) == (8, 0, 0), bad
            assert 8 * INPUT < record.charged <= record.max, bad
            assert await gate.books() == (OPENING - spent, 0)


@pytest.mark.parametrize("usage", [None, "many", [1], {}], ids=["null", "a string", "a list", "empty"])
async def test_an_answer_without_a_usage_is_billed_by_what_was_delivered(folder: Path, usage: Any) -> None:
    made = {**message("word " * 100), "usage": usage}
    async with running(folder, script=[plain(made)]) as gate:
        key = await gate.key()
        record = await gate.record(key, (await gate.message(key)).json()["id"])

        assert record.basis is Basis.COUNTED
        assert record.usage.output >= 500 // 4
        assert record.charged == record.usage.input * INPUT + record.usage.output * OUTPUT
        await gate.books()


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_usage_above_the_ceiling_is_the_operators_shortfall(folder: Path, is_stream: bool) -> None:  # noqa: FBT001
    made = message(input_tokens=1_000_000, output_tokens=1_000_000)
    cost = 1_000_000 * INPUT + 1_000_000 * OUTPUT
    async with running(folder, script=[stream(made) if is_stream else plain(made)]) as gate:
        body = ask(stream=is_stream)
        ceiling = (await gate.post("/v1/messages/quote", await gate.key("rich"), body)).json()["credits_max"]
        key = await gate.key("poor", credits=ceiling)
        answer = await (gate.stream(key, body) if is_stream else gate.message(key, body))
        record = await gate.record(key, _id(answer))

        assert show_credits(record.charged) == ceiling == answer.headers["x-credits-max"]
        assert record.shortfall == cost - record.charged
        assert await loss(gate, "shortfall") == record.shortfall
        assert await gate.books("poor") == (0, 0), "the wallet is at its floor and not below it"


async def test_prices_of_each_model_are_its_own(folder: Path) -> None:
    made = message(input_tokens=10, output_tokens=10, cache_read_input_tokens=10)
    async with running(folder, script=[plain(made)] * 3) as gate:
        key = await gate.key()
        for model, cost in (
            ("claude-haiku-4-5", 10 * (1_000 + 5_000 + 100)),
            ("claude-sonnet-4-6", 10 * (3_000 + 15_000 + 300)),
            ("claude-opus-4-7", 10 * (5_000 + 25_000 + 500)),
        ):
            answer = await gate.message(key, ask(model=model))
            assert answer.headers["x-credits-charged"] == show_credits(cost), model
        await gate.books()


async def test_a_new_price_bills_the_calls_held_after_it_and_leaves_the_old_receipts_alone(folder: Path) -> None:
    made = [plain(message(input_tokens=10, output_tokens=1))] * 2
    async with running(folder, script=made) as gate:
        key = await gate.key()
        before = await gate.message(key)
        columns = {"output": "1.00", "cache_write_5m": "1.00", "cache_write_1h": "1.00", "cache_read": "1.00"}
        soon = datetime.now(UTC) + timedelta(milliseconds=500)
        dearer = forms.NewPrice(model=ASK["model"], input="9.999", valid_from=soon, **columns)
        await desk.price_add(gate.running.desk, desk.Asked(form=dearer))
        await until(lambda: gate.price().id != before.headers["x-price-version"])
        after = await gate.message(key)

        assert before.headers["x-price-version"] != after.headers["x-price-version"]
        assert after.headers["x-credits-charged"] == "100.99"
        old, new = [await gate.receipt(key, answer.json()["id"]) for answer in (before, after)]
        assert (old["charged"], old["price_version"]) == ("15", before.headers["x-price-version"])
        assert (new["charged"], new["price_version"]) == ("100.99", after.headers["x-price-version"])
        await gate.books()


async def test_a_false_count_does_not_close_the_model_or_the_rates_to_its_key(folder: Path) -> None:
    false = plain(message(input_tokens=10**9, output_tokens=10**9))
    async with running(folder, script=[false, false]) as gate:
        key = await gate.key(input_tokens_per_minute=10_000, output_tokens_per_minute=10_000)
        first = await gate.message(key)
        again = await gate.message(key)
        other = await gate.message(key, ask(messages=[{"role": "user", "content": "Something else"}]))

        assert [answer.status_code for answer in (first, again, other)] == [200, 200, 200], (again.text, other.text)
        assert parse_credits(again.headers["x-credits-estimated"]) <= parse_credits(again.headers["x-credits-max"])
