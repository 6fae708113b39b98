"""CONTRACT 6, row by row: what each thing that goes wrong is answered, and that none of it is ever billed.

Method: real refusals and real faults over HTTP. Each answer is checked whole (status, envelope, headers), and the books
and upstream's log before and after it.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from faregate.core.access import Key, compose
from faregate.upstreams.script import End, Play, failure, plain
from tests.contract.answers import refused, untouched
from tests.gateway import ASK, UPSTREAM_KEY, Gate, ask, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOML = """
[upstreams.timeouts]
first_byte_s = 0.3
idle_s = 0.3
[retry]
attempts_max = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(folder: Path) -> AsyncIterator[Gate]:
    async with running(folder, toml=TOML) as gate:
        await gate.key()
        yield gate


async def issued(gate: Gate, number: int, **facts: Any) -> str:
    """A key that the office would not issue: its time is over, or it is revoked."""
    wallet = await gate.running.store.office.wallet_find("main")
    written = compose(f"{number:012d}", "s" * 32)
    key = Key(id=f"{number:012d}", wallet_id=wallet.id, name="n", created_at_ms=1, **facts)
    await gate.running.store.office.key_create(key, secret=written)
    return written


async def test_400_for_a_body_that_does_not_pass(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        refused(await gate.message(key, b"{"), 400, "invalid_request_error", "invalid_body")
        refused(await gate.message(key, ask(max_tokens=9000)), 400, "invalid_request_error", "invalid_param")


async def test_400_of_upstream_is_relayed_word_for_word_and_not_tried_again(gate: Gate) -> None:
    key = await gate.key()
    words = "prompt is too long: 234567 tokens > 200000 maximum"
    gate.upstream.play([failure(400, "invalid_request_error", words)])
    async with untouched(gate, calls=1):
        error = refused(await gate.message(key), 400, "invalid_request_error", "context_length_exceeded")
    assert error["message"] == words


async def test_401_says_one_sentence_for_a_missing_unknown_revoked_and_expired_key(gate: Gate) -> None:
    now_ms = time.time_ns() // 1_000_000
    keys = {
        None: "invalid_api_key",
        "": "invalid_api_key",
        "sk-ant-api03-not-ours": "invalid_api_key",
        compose("A" * 12, "s" * 32): "invalid_api_key",
        await issued(gate, 1, revoked_at_ms=now_ms): "key_revoked",
        await issued(gate, 2, expires_at_ms=now_ms): "key_expired",
    }
    async with untouched(gate):
        errors = [
            refused(await gate.message(key, ASK) if key is not None else await gate.post("/v1/messages", None, ASK),
                    401, "authentication_error", code)
            for key, code in keys.items()
        ]  # fmt: skip
    assert len({error["message"] for error in errors}) == 1


async def test_402_for_an_empty_wallet_says_what_is_required_and_what_it_affords(gate: Gate) -> None:
    key = await gate.key("poor", "450")
    async with untouched(gate, "poor"):
        error = refused(await gate.message(key), 402, "billing_error", "insufficient_credits")
        nothing = refused(await gate.message(key, ask(system="s" * 500)), 402, "billing_error", "insufficient_credits")

    details = error["details"]
    assert details["available"] == "450"
    input_ceiling = int(details["required"]) - 100 * 5
    assert details["affordable_max_tokens"] == (450 - input_ceiling) // 5
    assert nothing["details"]["affordable_max_tokens"] == 0
    for figure in (details["required"], details["available"], str(details["affordable_max_tokens"])):
        assert figure in error["message"]


async def test_402_for_a_quota_that_is_used(gate: Gate) -> None:
    key = await gate.key(quota="10")
    async with untouched(gate):
        error = refused(await gate.message(key), 402, "billing_error", "quota_exceeded")
    assert error["details"]["available"] == "10"


async def test_402_for_the_callers_own_limit(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, x_credits_limit="10")
    error = refused(answer, 402, "billing_error", "credit_limit_exceeded")
    assert error["details"]["limit"] == "10"


async def test_403_for_a_model_out_of_scope_and_an_address_that_is_not_allowed(gate: Gate) -> None:
    scoped = await gate.key(models=["claude-sonnet-4-6"])
    elsewhere = await gate.key(allow_ips=["192.0.2.0/24"])
    async with untouched(gate):
        error = refused(await gate.message(scoped), 403, "permission_error", "model_not_in_scope")
        away = refused(await gate.message(elsewhere), 403, "permission_error", "ip_not_allowed")
    assert "claude-haiku-4-5" in error["message"] and "claude-sonnet-4-6" in error["message"]
    assert "127.0.0.1" in away["message"]


async def test_404_for_an_unknown_model_and_an_unknown_path(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        error = refused(await gate.message(key, ask(model="claude-2")), 404, "not_found_error", "model_not_found")
        refused(await gate.get("/v1/nothing", key), 404, "not_found_error", "not_found")
        refused(await gate.get("/v1/models/", key), 404, "not_found_error", "not_found")
        refused(await gate.get("/v1/receipts/msg_unknown", key), 404, "not_found_error", "not_found")
    assert error["message"] == "model: claude-2"


async def test_405_names_the_methods_that_there_are(gate: Gate) -> None:
    answer = await gate.get("/v1/messages")

    error = refused(answer, 405, "invalid_request_error", "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert error["message"] == "/v1/messages takes POST, not GET."


async def test_409_for_a_call_that_was_made_before_shows_its_receipt(gate: Gate) -> None:
    key = await gate.key("twice")
    first = await gate.message(key, idempotency_key="once")
    async with untouched(gate, "twice"):
        again = await gate.message(key, idempotency_key="once")
    error = refused(again, 409, "conflict_error", "idempotency_done")
    assert error["details"]["receipt"] == await gate.receipt(key, first.json()["id"])


async def test_422_for_an_idempotency_key_with_another_body(gate: Gate) -> None:
    key = await gate.key()
    await gate.message(key, idempotency_key="mine")
    async with untouched(gate):
        answer = await gate.message(key, ask(max_tokens=50), idempotency_key="mine")
    refused(answer, 422, "invalid_request_error", "idempotency_mismatch")


async def test_415_for_a_compressed_body(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, b"\x1f\x8b", content_encoding="gzip")
    error = refused(answer, 415, "invalid_request_error", "request_body_encoding_unsupported")
    assert "gzip" in error["message"]


async def test_422_for_a_parameter_that_is_not_for_this_model(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        answer = await gate.message(key, ask(container="container_1"))
    refused(answer, 422, "invalid_request_error", "unsupported_parameter")


@pytest.mark.parametrize("limit", ["requests", "input_tokens", "output_tokens"])
async def test_429_for_a_rate_says_how_long_to_wait_and_what_is_left(gate: Gate, limit: str) -> None:
    rate: Any = {f"{limit}_per_minute": 1}
    key = await gate.key(**rate)
    first = await gate.message(key)
    assert first.status_code == 200
    async with untouched(gate):
        answer = await gate.message(key)

    wait_s = int(answer.headers["retry-after"])
    error = refused(answer, 429, "rate_limit_error", limit, retried=wait_s <= 60, wait=True)
    assert wait_s >= 1
    head = f"anthropic-ratelimit-{limit.replace('_', '-')}"
    assert (answer.headers[f"{head}-limit"], answer.headers[f"{head}-remaining"]) == ("1", "0")
    assert f"{head}-reset" in answer.headers
    assert "limit is 1 " in error["message"]


@pytest.mark.parametrize("window", ["spend_5h", "spend_1d", "spend_7d"])
async def test_429_for_a_spend_window_tells_sdks_not_to_sleep(gate: Gate, window: str) -> None:
    key = await gate.key(**{window: "10"})
    async with untouched(gate):
        answer = await gate.message(key)

    error = refused(answer, 429, "rate_limit_error", window, wait=True)
    hours = {"spend_5h": 5, "spend_1d": 24, "spend_7d": 168}[window]
    assert 0 < int(answer.headers["retry-after"]) <= hours * 3600
    assert error["details"]["available"] == "10"


UPSTREAM: dict[str, tuple[Play, int, str, str]] = {
    "500": (failure(500, "api_error", "boom"), 502, "api_error", "upstream_error"),
    "503": (failure(503, "api_error", "away"), 502, "api_error", "upstream_error"),
    "529": (failure(529, "overloaded_error", "busy"), 529, "overloaded_error", "upstream_overloaded"),
    "429": (failure(429, "rate_limit_error", "slow"), 529, "overloaded_error", "upstream_overloaded"),
    "408": (failure(408, "timeout_error", "late"), 504, "timeout_error", "upstream_timeout"),
    "a reset": (Play(ending=End.RESET, ending_after=0), 502, "api_error", "upstream_error"),
    "no answer": (Play(ending=End.REFUSE), 502, "api_error", "upstream_error"),
    "garbage": (Play(ending=End.GARBAGE, ending_after=0), 502, "api_error", "upstream_error"),
    "no message": (plain({"hello": "there"}), 502, "api_error", "upstream_error"),
}


@pytest.mark.parametrize(("play", "status", "kind", "code"), UPSTREAM.values(), ids=UPSTREAM)
async def test_upstreams_trouble_is_told_after_the_envelope_gave_up(
    gate: Gate, play: Play, status: int, kind: str, code: str
) -> None:
    key = await gate.key()
    gate.upstream.play([play, play])
    async with untouched(gate, calls=2):
        answer = await gate.message(key)

    retry = refused(answer, status, kind, code, retried=True, wait=True)["details"]["retry"]
    assert retry["retryable"] is True
    assert [attempt["upstream"] for attempt in retry["attempts"]] == ["fake", "fake"]
    assert all(set(attempt) == {"upstream", "status", "error", "wait_ms"} for attempt in retry["attempts"])
    assert retry["retry_after_ms"] == int(answer.headers["retry-after"]) * 1_000
    assert (await gate.receipts(key))[0]["charged"] == "0"


async def test_504_when_upstream_does_not_answer_in_time(gate: Gate) -> None:
    key = await gate.key()
    silent = Play(ending=End.STALL, ending_after=0, head_delay_ms=60_000)
    gate.upstream.play([silent, silent])
    async with untouched(gate, calls=2):
        answer = await gate.stream(key)
    assert answer.status_code == 504
    assert b"upstream_timeout" in answer.body


async def test_what_upstream_says_of_our_own_access_reaches_nobody(gate: Gate) -> None:
    key = await gate.key()
    gate.upstream.play([failure(401, "authentication_error", f"invalid x-api-key {UPSTREAM_KEY} of org acme")])
    async with untouched(gate, calls=1):
        answer = await gate.message(key)
    refused(answer, 502, "api_error", "upstream_error")
    assert not any(word in answer.text for word in (UPSTREAM_KEY, "acme", "x-api-key", gate.upstream.base_url))


async def test_what_is_relayed_word_for_word_is_without_our_key_and_address(gate: Gate) -> None:
    key, where = await gate.key(), gate.upstream.base_url.removeprefix("http://")
    gate.upstream.play([failure(400, "invalid_request_error", f"no tools for {UPSTREAM_KEY} at {where}")])
    answer = await gate.message(key)
    refused(answer, 400, "invalid_request_error", "invalid_param")
    assert answer.json()["error"]["message"] == "no tools for [redacted] at [redacted]"


async def test_a_retry_after_of_upstream_is_honoured_and_too_long_a_one_is_not_slept_on(gate: Gate) -> None:
    key = await gate.key()
    gate.upstream.play([failure(529, "overloaded_error", "busy", retry_after="3600")])
    async with untouched(gate, calls=1):
        answer = await gate.message(key)
    refused(answer, 529, "overloaded_error", "upstream_overloaded", wait=True)
    assert answer.headers["retry-after"] == "3600"
    gate.running.gate.dispatch._rests.clear()  # The other claims have no ten minutes.


async def test_503_when_the_database_takes_no_write_and_upstream_is_not_asked(gate: Gate, folder: Path) -> None:
    key = await gate.key()
    other = sqlite3.connect(folder / "home" / "faregate.db", isolation_level=None)
    async with untouched(gate):
        try:
            other.execute("BEGIN IMMEDIATE")
            answer = await gate.message(key)
            refused(answer, 503, "api_error", "database_unavailable", retried=True, wait=True)
        finally:
            other.close()
    assert (await gate.message(key)).status_code == 200
