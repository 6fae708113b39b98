"""Each error reaches the official SDK as the class that its user catches, and is repeated only where that may help.

Method: `anthropic` with its default retries against a running gateway. How often it really asked is read from the
gateway's own count of requests.
"""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import pytest
import pytest_asyncio
from anthropic.types import MessageParam

from faregate.core.access import Key, compose
from faregate.upstreams.script import End, Play, error_frame, events, failure, frames_of
from tests.gateway import MODEL, Gate, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
MESSAGE: dict[str, Any] = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "words that come one after another"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 7},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate"), toml="[retry]\nattempts_max = 1\n") as gate:
        yield gate


def rider(gate: Gate, key: str, **more: Any) -> anthropic.AsyncAnthropic:
    http = httpx2.AsyncClient(trust_env=False)
    return anthropic.AsyncAnthropic(api_key=key, base_url=gate.base_url, http_client=http, **more)


async def asked(gate: Gate) -> int:
    """How many requests to /v1/messages the gateway has answered."""
    metrics = (await gate.get("/metrics")).text
    return sum(int(float(n)) for n in re.findall(r"^faregate_requests_total\{.*\} (\S+)$", metrics, re.MULTILINE))


async def empty(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key("empty", "1"), {}


async def limited(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(), {"extra_headers": {"x-credits-limit": "1"}}


async def stranger(_: Gate) -> tuple[str, dict[str, Any]]:
    return compose("A" * 12, "s" * 32), {}


async def revoked(gate: Gate) -> tuple[str, dict[str, Any]]:
    wallet = await gate.running.store.office.wallet_find("main")
    key = Key(id="R" * 12, wallet_id=wallet.id, name="n", created_at_ms=1, revoked_at_ms=time.time_ns() // 1_000_000)
    written = compose(key.id, "s" * 32)
    await gate.running.store.office.key_create(key, secret=written)
    return written, {}


async def scoped(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(models=["claude-opus-4-7"]), {}


async def nowhere(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(), {"model": "claude-2"}


async def too_many(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(), {"max_tokens": 9000}


async def not_here(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(), {"container": "container_1"}


async def spent(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(spend_5h="10"), {}


async def huge(gate: Gate) -> tuple[str, dict[str, Any]]:
    return await gate.key(), {"system": "s" * (32 * 1024 * 1024)}


REFUSED: list[tuple[Callable[[Gate], Awaitable[tuple[str, dict[str, Any]]]], type[anthropic.APIStatusError], str, str]]
REFUSED = [
    (too_many, anthropic.BadRequestError, "invalid_request_error", "invalid_param"),
    (stranger, anthropic.AuthenticationError, "authentication_error", "invalid_api_key"),
    (revoked, anthropic.AuthenticationError, "authentication_error", "key_revoked"),
    (empty, anthropic.PaymentRequiredError, "billing_error", "insufficient_credits"),
    (limited, anthropic.PaymentRequiredError, "billing_error", "credit_limit_exceeded"),
    (scoped, anthropic.PermissionDeniedError, "permission_error", "model_not_in_scope"),
    (nowhere, anthropic.NotFoundError, "not_found_error", "model_not_found"),
    (huge, anthropic.ContentTooLargeError, "request_too_large", "request_too_large"),
    (not_here, anthropic.UnprocessableEntityError, "invalid_request_error", "unsupported_parameter"),
    (spent, anthropic.RateLimitError, "rate_limit_error", "spend_5h"),
]


@pytest.mark.parametrize(("make", "error", "kind", "code"), REFUSED, ids=lambda part: getattr(part, "__name__", ""))
async def test_a_refusal_is_raised_as_its_class_and_asked_only_once(
    gate: Gate, make: Any, error: type[anthropic.APIStatusError], kind: str, code: str
) -> None:
    await gate.key()
    key, more = await make(gate)
    before, seen = await asked(gate), len(gate.upstream.log)
    ask: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": HELLO, **more}
    async with rider(gate, key) as client:
        with pytest.raises(error) as raised:
            await client.messages.create(**ask)

    assert (raised.value.type, raised.value.error_code) == (kind, code)
    assert raised.value.request_id is not None and raised.value.request_id.startswith("req_")
    assert await asked(gate) - before == 1, "a refusal that the SDK repeats is a refusal three times"
    assert len(gate.upstream.log) == seen


TROUBLE = [
    (failure(529, "overloaded_error", "busy", retry_after="0"), anthropic.OverloadedError, "upstream_overloaded"),
    (failure(500, "api_error", "boom", retry_after="0"), anthropic.InternalServerError, "upstream_error"),
    (failure(504, "timeout_error", "late", retry_after="0"), anthropic.GatewayTimeoutError, "upstream_timeout"),
]


@pytest.mark.parametrize(("play", "error", "code"), TROUBLE, ids=["529", "500", "504"])
async def test_upstreams_trouble_is_raised_as_its_class_when_repeating_did_not_help(
    gate: Gate, play: Play, error: type[anthropic.APIStatusError], code: str
) -> None:
    key = await gate.key()
    gate.upstream.play([play, play])
    before = await asked(gate)
    async with rider(gate, key, max_retries=1) as client:
        with pytest.raises(error) as raised:
            await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)

    assert raised.value.error_code == code
    assert await asked(gate) - before == 2
    assert {receipt["charged"] for receipt in await gate.receipts(key)} == {"0"}


async def test_a_call_that_a_repeat_mends_is_billed_once(gate: Gate) -> None:
    key = await gate.key()
    gate.upstream.play([failure(529, "overloaded_error", "busy", retry_after="0"), None])
    async with rider(gate, key) as client:
        message = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)

    answered, failed = await gate.receipts(key)
    assert (answered["id"], answered["outcome"]) == (message.id, "ok")
    assert (failed["outcome"], failed["charged"]) == ("upstream_error", "0")


@pytest.mark.parametrize("ending", ["an error event", "a clean end without message_stop", "a cut connection"])
async def test_a_stream_that_fails_midway_raises_and_costs_nothing(gate: Gate, ending: str) -> None:
    key = await gate.key()
    frames = frames_of(MESSAGE)[:5]
    if ending == "an error event":
        play = events([*frames, error_frame("overloaded_error", "Overloaded")], gap_ms=100)
    else:
        play = events(frames, ending=End.CUT if "cut" in ending else End.CLEAN)
    gate.upstream.play([play])

    received: list[str] = []
    async with rider(gate, key) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
                async for text in stream.text_stream:
                    received.append(text)

    assert received, "what came before the fault was passed on"
    overloaded = ending == "an error event"
    assert raised.value.type == ("overloaded_error" if overloaded else "api_error")
    assert raised.value.error_code == ("upstream_overloaded" if overloaded else "upstream_error")
    (receipt,) = await gate.settled(key)
    assert (receipt["outcome"], receipt["charged"]) == ("upstream_error", "0")
