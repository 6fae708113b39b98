"""CONTRACT 8: how much and how fast a key may ride: quota, spend windows, rates with their headers, concurrency.

Method: one running gateway, over HTTP; a second one on the same data folder where a restart is the subject, and an
upstream played by hand where a caller leaves.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from faregate.upstreams.script import Play, Seen, failure, frames_of, stream
from tests.contract.answers import refused, untouched
from tests.contract.handmade import HandUpstream, by_hand
from tests.contract.riders import Rider, loss, message
from tests.gateway import Gate, ask, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW: dict[str, Any] = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "one two three four five six seven eight"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 8},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(module_folder: Path) -> AsyncIterator[Gate]:
    async with running(module_folder) as gate:
        yield gate


async def test_a_lifetime_quota_is_told_with_each_answer_and_never_overspent(gate: Gate) -> None:
    key = await gate.key(quota="1000")
    left = 1000
    for _ in range(2):
        answer = await gate.message(key)
        held = int(answer.headers["x-credits-max"])
        assert answer.headers["x-quota-remaining-credits"] == str(left - held)
        left -= int(answer.headers["x-credits-charged"])
    error = refused(await gate.message(key), 402, "billing_error", "quota_exceeded")
    assert error["details"]["available"] == str(left)
    assert (await gate.get("/v1/wallet", key)).json()["key"]["remaining"]["quota"] == str(left)


async def test_a_quota_is_the_keys_and_not_the_wallets(gate: Gate) -> None:
    small, large = await gate.key(quota="10"), await gate.key()
    refused(await gate.message(small), 402, "billing_error", "quota_exceeded")
    answer = await gate.message(large)
    assert answer.status_code == 200 and "x-quota-remaining-credits" not in answer.headers


async def test_a_quota_clamps_the_output_as_a_wallet_does(gate: Gate) -> None:
    key = await gate.key(quota="3000")
    answer = await gate.message(key, ask(max_tokens=8000))

    cap = int(answer.headers["x-max-tokens-effective"])
    assert 256 <= cap < 8000
    assert gate.upstream.log[-1].document["max_tokens"] == cap
    assert int(answer.headers["x-credits-max"]) <= 3000


@pytest.mark.parametrize(("window", "hours"), [("spend_5h", 5), ("spend_1d", 24), ("spend_7d", 168)])
async def test_a_spend_window_opens_with_its_first_call_and_says_when_it_ends(
    gate: Gate, window: str, hours: int
) -> None:
    cap: Any = {window: "900"}
    key = await gate.key(**cap)
    assert (await gate.message(key)).status_code == 200
    async with untouched(gate):
        answer = await gate.message(key)
    refused(answer, 429, "rate_limit_error", window, wait=True)
    assert hours * 3600 - 120 < int(answer.headers["retry-after"]) <= hours * 3600


async def test_requests_a_minute_count_down_in_the_headers(gate: Gate) -> None:
    key = await gate.key(requests_per_minute=2, input_tokens_per_minute=100_000, output_tokens_per_minute=50_000)
    first, second = await gate.message(key), await gate.stream(key)

    for answer, left in ((first, "1"), (second, "0")):
        assert answer.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert answer.headers["anthropic-ratelimit-requests-remaining"] == left
        for name, limit in (("input-tokens", 100_000), ("output-tokens", 50_000)):
            assert answer.headers[f"anthropic-ratelimit-{name}-limit"] == str(limit)
            assert 0 <= int(answer.headers[f"anthropic-ratelimit-{name}-remaining"]) <= limit
        reset = answer.headers["anthropic-ratelimit-requests-reset"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reset)
        assert datetime.fromisoformat(reset) - datetime.now(UTC) < timedelta(seconds=61)
    refused(await gate.message(key), 429, "rate_limit_error", "requests", retried=True, wait=True)


async def test_a_key_without_rates_hears_of_none(gate: Gate) -> None:
    answer = await gate.message(await gate.key())
    assert not [name for name in answer.headers if name.startswith("anthropic-ratelimit")]


async def test_free_endpoints_take_nothing_from_the_rates(gate: Gate) -> None:
    key = await gate.key(requests_per_minute=1)
    for path in ("/v1/messages/quote", "/v1/messages/count_tokens"):
        assert (await gate.post(path, key, ask())).status_code == 200
    assert (await gate.message(key)).status_code == 200


async def test_concurrency_holds_while_calls_run_and_is_given_back_when_they_end(gate: Gate) -> None:
    key = await gate.key(concurrency=1)

    def slow(seen: Seen) -> Play | None:
        return stream(SLOW, gap_ms=10_000) if seen.document.get("stream") else None

    gate.upstream.play(slow)
    headers = {"x-api-key": key}
    async with gate.client.stream("POST", "/v1/messages", headers=headers, json=ask(stream=True)) as answer:
        assert answer.status_code == 200
        busy = await gate.message(key)
        error = refused(busy, 429, "rate_limit_error", "concurrency", retried=True, wait=True)
        assert "limit is 1" in error["message"]
    await gate.settled(key)
    assert (await gate.message(key)).status_code == 200
    gate.upstream.play(None)


async def test_a_call_that_fails_counts_as_a_request_and_gives_its_tokens_back(gate: Gate) -> None:
    long = ask(messages=[{"role": "user", "content": "a word " * 10_000}])
    key = await gate.key(requests_per_minute=3, input_tokens_per_minute=50_000)
    gate.upstream.play(lambda seen: failure(400, "invalid_request_error", "No."))
    refused(await gate.message(key, long), 400, "invalid_request_error", "invalid_param")
    gate.upstream.play(None)
    answer = await gate.message(key, long)

    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "1"
    left = int(answer.headers["anthropic-ratelimit-input-tokens-remaining"])
    takes = int(answer.headers["x-credits-input"])  # a credit a token
    assert takes > 10_000 and left >= 50_000 - takes, "this call takes so many, and the one before has taken nothing"


async def test_callers_at_once_are_let_in_as_often_as_the_rate_says(gate: Gate) -> None:
    key = await gate.key(requests_per_minute=5)
    answers = await asyncio.gather(*(gate.message(key) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 15
    left = sorted(int(answer.headers["anthropic-ratelimit-requests-remaining"]) for answer in answers)
    assert left == [0] * 16 + [1, 2, 3, 4]


async def test_a_restart_gives_no_rate_away(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key(requests_per_minute=1)
        assert (await gate.message(key)).status_code == 200
    async with running(folder) as gate:
        error = refused(await gate.message(key), 429, "rate_limit_error", "requests", retried=True, wait=True)
    assert error["message"].startswith("This key's limit is 1 requests a minute; 0 are left and this call takes 1.")


async def hang_up(gate: Gate, upstream: HandUpstream, key: str) -> None:
    """A call that upstream has, and that its caller leaves before the first event."""
    rider = await Rider.ask(gate, key, ask(stream=True))
    turn = await upstream.turn()
    rider.leave()
    await turn.gone()


@pytest.mark.parametrize("budget", ["0", "0.001", "40"])
async def test_who_hangs_up_before_he_can_be_billed_waits_when_it_has_cost_more_than_is_tolerated(
    folder: Path, budget: str
) -> None:
    async with by_hand(folder, toml=f'[limits]\nabandon_budget = "{budget}"\n') as (gate, upstream):
        key, innocent = await gate.key(), await gate.key(wallet="other")
        calls = 0
        while await loss(gate, "abandon_loss") < max(1, round(float(budget) * 1_000)):
            await hang_up(gate, upstream, key)
            calls += 1
            await gate.settled(key, calls)
        assert calls > 1 or budget != "40"

        for answer in (await gate.message(key), await gate.message(key, ask(max_tokens=1))):
            error = refused(answer, 429, "rate_limit_error", "abandoned", wait=True)
            assert 3_000 < int(answer.headers["retry-after"]) <= 3_600
            assert error["details"]["budget"] == budget
            assert "the operator can raise limits.abandon_budget" in error["message"]
        assert await gate.books() == (1_000_000_000, 0), "none of it is billed"
        await answered(gate, upstream, innocent)


async def answered(gate: Gate, upstream: HandUpstream, key: str) -> None:
    asking = asyncio.create_task(gate.stream(key))
    turn = await upstream.turn()
    turn.begin(*frames_of(message(input_tokens=5, output_tokens=3)))
    turn.finish()
    assert (await asking).kinds[-1] == "message_stop"


@pytest.mark.parametrize("budget", ["1000000", "unlimited"])
async def test_a_hang_up_now_and_then_is_forgiven(folder: Path, budget: str) -> None:
    async with by_hand(folder, toml=f'[limits]\nabandon_budget = "{budget}"\n') as (gate, upstream):
        key = await gate.key()
        for calls in range(1, 4):
            await hang_up(gate, upstream, key)
            await gate.settled(key, calls)
        assert await loss(gate, "abandon_loss") > 0
        await answered(gate, upstream, key)
