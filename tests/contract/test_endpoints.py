"""CONTRACT 2, row by row: every path, whether it needs a key, and what it gives.

Method: one running gateway, each endpoint over HTTP with and without a key.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.answers import refused, untouched
from tests.gateway import MODEL, Gate, ask, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECEIPT = {
    "id", "state", "outcome", "model", "usage", "basis", "price_version", "max", "charged", "shortfall", "attempts",
    "created_at", "settled_at",
}  # fmt: skip
CREDITS = re.compile(r"-?\d+(\.\d{1,3})?")

KEYED = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/messages/quote"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-haiku-4-5"),
    ("GET", "/v1/receipts/msg_1"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/wallet"),
]
OPEN = ["/v1/pricing", "/healthz", "/readyz", "/metrics"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(module_folder: Path) -> AsyncIterator[Gate]:
    async with running(module_folder, toml='[[routes]]\nmodel = "claude-haiku-4-5"\n'
                       'upstreams = ["fake"]\naliases = ["quick"]\n') as gate:  # fmt: skip
        yield gate


@pytest.mark.parametrize(("method", "path"), KEYED)
async def test_what_needs_a_key_is_brokewithout_one_and_with_a_false_one(gate: Gate, method: str, path: str) -> None:
    for headers in ({}, {"x-api-key": "sk-fare-nobody"}, {"authorization": "Basic dTpw"}, {"cookie": "x-api-key=k"}):
        answer = await gate.client.request(method, path, headers=headers, json=ask())
        refused(answer, 401, "authentication_error", "invalid_api_key")


@pytest.mark.parametrize("path", OPEN)
async def test_what_needs_no_key_is_given_without_one(gate: Gate, path: str) -> None:
    assert (await gate.get(path)).status_code == 200


@pytest.mark.parametrize("path", [path for method, path in KEYED if method == "GET"] + OPEN)
async def test_unknown_queries_and_headers_are_ignored(gate: Gate, path: str) -> None:
    answer = await gate.get(f"{path}?beta=true&x=1", await gate.key(), x_unknown="1", anthropic_workspace_id="w")
    assert answer.status_code == (404 if "receipts" in path else 200)


async def test_a_message_is_answered_with_an_id_and_a_model_of_ours_and_beta_in_the_query_is_ignored(
    gate: Gate,
) -> None:
    key = await gate.key()
    answer = await gate.post("/v1/messages?beta=true", key, ask())

    assert re.fullmatch(r"msg_[0-9A-Z]{26}", answer.json()["id"])
    assert answer.json()["model"] == MODEL
    assert re.fullmatch(r"req_[0-9A-Z]{26}", answer.headers["request-id"])


async def test_betas_on_several_lines_are_one_list(gate: Gate) -> None:
    headers = [("x-api-key", await gate.key()), ("anthropic-beta", "one-2026-01-01"), ("anthropic-beta", "two,three")]
    assert (await gate.client.post("/v1/messages", headers=headers, json=ask())).status_code == 200
    assert gate.upstream.log[-1].headers["anthropic-beta"] == "one-2026-01-01,two,three"


async def test_version_and_beta_go_upstream_untouched_and_nothing_else_of_the_callers_does(gate: Gate) -> None:
    key = await gate.key()
    beta = "context-1m-2025-08-07, not-even-a-beta"
    await gate.message(key, anthropic_version="2026-10-21", anthropic_beta=beta, cookie="a=b", x_private="p")

    seen = gate.upstream.log[-1]
    assert (seen.headers["anthropic-version"], seen.headers["anthropic-beta"]) == ("2026-10-21", beta)
    assert key not in str(seen.headers)
    assert not {"cookie", "x-private"} & set(seen.headers)
    assert seen.path == "/v1/messages"


async def test_an_alias_is_echoed_and_the_models_own_id_is_sent_and_kept(gate: Gate) -> None:
    key = await gate.key("aliased")
    answer = await gate.message(key, ask(model="quick"))

    assert answer.json()["model"] == "quick"
    assert gate.upstream.log[-1].document["model"] == MODEL
    assert [receipt["model"] for receipt in await gate.receipts(key)] == [MODEL]
    by_alias = (await gate.get("/v1/usage?model=quick", key)).json()["data"]
    assert by_alias == await gate.receipts(key)
    assert (await gate.get("/v1/usage?model=claude-opus-4-7", key)).json()["data"] == []


async def test_counting_tokens_is_free_and_asks_upstream(gate: Gate) -> None:
    key = await gate.key()
    body = {name: value for name, value in ask().items() if name != "max_tokens"}
    async with untouched(gate, calls=1):
        answer = await gate.post("/v1/messages/count_tokens", key, body)

    assert answer.json() == {"input_tokens": 5}
    assert gate.upstream.log[-1].path == "/v1/messages/count_tokens"


async def test_a_quote_is_free_asks_nobody_and_is_what_the_call_then_says(gate: Gate) -> None:
    key = await gate.key(quota="5000")
    async with untouched(gate):
        quote = (await gate.post("/v1/messages/quote", key, ask())).json()
    answer = await gate.message(key)

    assert quote["type"] == "quote" and quote["affordable"] is True
    for name in ("credits-max", "credits-estimated", "credits-input", "credits-remaining", "quota-remaining-credits",
                 "price-version"):  # fmt: skip
        assert quote[name.replace("-", "_")] == answer.headers[f"x-{name}"], name
    assert str(quote["max_tokens_effective"]) == answer.headers["x-max-tokens-effective"] == "100"


async def test_a_quote_says_when_the_wallet_does_not_afford_the_call(gate: Gate) -> None:
    key = await gate.key("thin", "400")
    quote = (await gate.post("/v1/messages/quote", key, ask())).json()

    assert (quote["affordable"], quote["max_tokens_effective"], quote["credits_remaining"]) == (False, 0, "400")
    assert int(quote["credits_max"]) > 400


@pytest.mark.parametrize("cap", ["quota", "spend_5h"])
async def test_a_quote_knows_the_keys_own_caps(gate: Gate, cap: str) -> None:
    little: dict[str, Any] = {cap: "3000"}
    nothing: dict[str, Any] = {cap: "10"}
    clamped = (await gate.post("/v1/messages/quote", await gate.key(**little), ask(max_tokens=8000))).json()
    broke = (await gate.post("/v1/messages/quote", await gate.key(**nothing), ask())).json()

    assert clamped["affordable"] and 256 <= clamped["max_tokens_effective"] < 8000
    assert float(clamped["credits_max"]) <= 3000
    assert (broke["affordable"], broke["max_tokens_effective"]) == (False, 0)


async def test_a_quote_of_a_bad_request_is_brokeas_the_call_would_be(gate: Gate) -> None:
    answer = await gate.post("/v1/messages/quote", await gate.key(), ask(max_tokens=9000))
    refused(answer, 400, "invalid_request_error", "invalid_param")


async def test_models_come_in_anthropics_shape_with_limits_capabilities_and_lifecycle(gate: Gate) -> None:
    key = await gate.key()
    page = (await gate.get("/v1/models", key)).json()

    assert list(page) == ["data", "has_more", "first_id", "last_id", "object"]
    ids = [model["id"] for model in page["data"]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[-1], False)
    haiku = (await gate.get(f"/v1/models/{MODEL}", key)).json()
    assert haiku in page["data"]
    assert (haiku["type"], haiku["lifecycle"], haiku["max_input_tokens"], haiku["max_tokens"]) == (
        "model", "active", 200_000, 8192,
    )  # fmt: skip
    assert haiku["capabilities"]["image_input"] == {"supported": True}
    assert (await gate.get("/v1/models/claude-haiku-4-5-20251001", key)).json() == haiku
    refused(await gate.get("/v1/models/claude-2", key), 404, "not_found_error", "model_not_found")


async def test_models_are_paged_both_ways_and_filtered_by_lifecycle(gate: Gate) -> None:
    key = await gate.key()
    everything = [model["id"] for model in (await gate.get("/v1/models?limit=1000", key)).json()["data"]]
    assert len(everything) == 3

    async def page(query: str) -> tuple[list[str], bool]:
        found = (await gate.get(f"/v1/models?{query}", key)).json()
        return [model["id"] for model in found["data"]], found["has_more"]

    assert await page("limit=2") == (everything[:2], True)
    assert await page(f"limit=2&after_id={everything[1]}") == (everything[2:], False)
    assert await page(f"limit=1&before_id={everything[2]}") == (everything[1:2], True)
    assert await page(f"limit=2&before_id={everything[2]}") == (everything[:2], False)
    assert await page("after_id=claude-haiku-4-5-20251001") == await page(f"after_id={MODEL}")
    assert [await page(query) for query in ("lifecycle[]=retired", "after_id=claude-2")] == [([], False)] * 2
    assert await page("lifecycle[]=active") == (everything, False)
    for query in ("limit=0", "limit=1001", "limit=two"):
        answer = await gate.get(f"/v1/models?{query}", key)
        error = refused(answer, 400, "invalid_request_error", "invalid_param")
        assert error["message"].startswith(query.partition("=")[0] + ": ")


async def test_prices_are_the_list_prices_with_their_dates(gate: Gate) -> None:
    page = (await gate.get("/v1/pricing")).json()

    assert page["unit"] == "USD per million tokens" and page["credits_per_usd"] == 1_000_000
    columns = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
    shown = {row["model"]: tuple(row[name] for name in columns) for row in page["data"] if row["in_force"]}
    assert shown == {
        "claude-haiku-4-5": ("1.00", "5.00", "1.25", "2.00", "0.10"),
        "claude-sonnet-4-6": ("3.00", "15.00", "3.75", "6.00", "0.30"),
        "claude-opus-4-7": ("5.00", "25.00", "6.25", "10.00", "0.50"),
    }
    for row in page["data"]:
        assert row["id"].startswith(f"{row['model']}@{row['valid_from'][:10]}")


async def test_a_receipt_says_what_a_call_cost_and_why(gate: Gate) -> None:
    key = await gate.key()
    answer = await gate.message(key)
    receipt = await gate.receipt(key, answer.json()["id"])

    assert set(receipt) >= RECEIPT
    usage = answer.json()["usage"]
    assert receipt["usage"] == {name: usage[name] for name in receipt["usage"]}
    assert (receipt["state"], receipt["outcome"], receipt["basis"]) == ("settled", "ok", "upstream")
    assert receipt["charged"] == answer.headers["x-credits-charged"]
    assert receipt["max"] == answer.headers["x-credits-max"]
    assert receipt["price_version"] == answer.headers["x-price-version"]
    assert (receipt["shortfall"], receipt["attempts"], receipt["model"]) == ("0", 1, MODEL)
    assert datetime.fromisoformat(receipt["created_at"]) <= datetime.fromisoformat(receipt["settled_at"])


async def test_usage_is_the_keys_own_calls_newest_first_page_by_page(gate: Gate) -> None:
    key = await gate.key()
    other = await gate.key()
    ids = [(await gate.message(key)).json()["id"] for _ in range(5)]
    await gate.message(other)

    seen: list[str] = []
    after, pages = "", 0
    while True:
        page = (await gate.get(f"/v1/usage?limit=2{after}", key)).json()
        seen += [call["id"] for call in page["data"]]
        pages += 1
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        after = f"&after_id={page['last_id']}"
    assert seen == ids[::-1]
    assert pages == 3


async def test_usage_is_filtered_by_time_and_a_bad_time_is_named(gate: Gate) -> None:
    key = await gate.key()
    first, second = [await gate.receipt(key, (await gate.message(key)).json()["id"]) for _ in range(2)]
    day = timedelta(days=1)
    now = datetime.now(UTC)

    async def ids(**query: str) -> list[str]:
        page = await gate.client.get("/v1/usage", params=query, headers={"x-api-key": key})
        return [call["id"] for call in page.json()["data"]]

    both = [second["id"], first["id"]]
    assert await ids(since=(now - day).isoformat()) == both
    assert await ids(until=(now + day).isoformat()) == both
    assert await ids(until=(now - day).isoformat()) == await ids(since=(now + day).isoformat()) == []
    assert await ids(since=first["created_at"]) == both
    assert first["id"] not in await ids(until=first["created_at"])
    for text in ("yesterday", "2026-11-01T00:00:00"):
        answer = await gate.get(f"/v1/usage?since={text}", key)
        message = refused(answer, 400, "invalid_request_error", "invalid_param")["message"]
        assert message.startswith("since: ")


async def test_a_wallet_shows_its_credits_and_the_keys_own_caps(gate: Gate) -> None:
    key = await gate.key("shown", "1000", name="laptop", quota="700", spend_1d="600", requests_per_minute=9)
    before = (await gate.get("/v1/wallet", key)).json()
    charged = (await gate.message(key, ask(max_tokens=20))).headers["x-credits-charged"]
    after = (await gate.get("/v1/wallet", key)).json()

    assert (before["balance"], before["held"], before["available"]) == ("1000", "0", "1000")
    assert after["balance"] == after["available"] == str(1000 - int(charged))
    caps = before["key"]
    assert (caps["name"], caps["quota"], caps["spend_1d"], caps["requests_per_minute"]) == ("laptop", "700", "600", 9)
    assert (caps["spend_5h"], caps["spend_7d"], caps["concurrency"]) == (None, None, None)
    assert caps["remaining"] == {"quota": "700", "spend_1d": "600"}
    assert after["key"]["remaining"] == {"quota": str(700 - int(charged)), "spend_1d": str(600 - int(charged))}
    assert key not in str(after)
    assert all(CREDITS.fullmatch(after[name]) for name in ("balance", "held", "available"))


async def test_health_readiness_and_metrics(gate: Gate) -> None:
    await gate.message(await gate.key())

    assert (await gate.get("/healthz")).json() == {"status": "ok"}
    assert (await gate.get("/readyz")).json() == {
        "status": "ready", "database": "writable", "upstreams": {"fake": True},
        "breakers": {"fake": "closed"},
    }  # fmt: skip
    metrics = await gate.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("faregate_requests_total", "faregate_tokens_total", "faregate_credits_charged_total",
                 "faregate_holds_open", "faregate_first_event_seconds", "faregate_added_seconds",
                 "faregate_estimate_ratio", "faregate_commit_commands", "faregate_commit_wait_seconds"):  # fmt: skip
        assert name in metrics.text
    assert f'faregate_requests_total{{model="{MODEL}",outcome="ok",status="200"}}' in metrics.text


async def test_the_admin_api_is_not_behind_this_door(gate: Gate) -> None:
    refused(await gate.get("/admin/v1/wallets", await gate.key()), 404, "not_found_error", "not_found")
