"""CONTRACT 8: how much and how fast a key may ride: quota, spend windows, rates with their headers, concurrency.

Method: one running gateway, over HTTP.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from faregate.upstreams.script import Play, Seen, stream
from tests.contract.answers import refused, untouched
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
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
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
