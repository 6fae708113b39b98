"""CONTRACT 4, over a real socket: every call is quoted before its first event, and held to its caller's own bounds.

Method: a whole gateway, an upstream whose usage is written down beforehand, and arithmetic on the shipped price.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from faregate.core.money import NANOS_PER_CREDIT, parse_credits, show_credits
from faregate.upstreams.script import End, plain, stream
from tests.contract.riders import NO_RETRY, Rider, message, streamed
from tests.gateway import MODEL, ask, running

QUOTED = ["x-credits-max", "x-credits-estimated", "x-credits-input", "x-credits-remaining", "x-max-tokens-effective",
          "x-price-version", "request-id"]  # fmt: skip


async def test_every_quote_header_comes_before_the_first_event(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key(quota="5000")
        rider = await Rider.ask(gate, key, streamed())
        seen = await rider.whole()

        first_event = seen.index(b"event: ")
        for name in [*QUOTED, "x-quota-remaining-credits"]:
            assert 0 < seen.lower().index(name.encode() + b":") < first_event
        assert "x-credits-charged" not in rider.headers
        rider.leave()


async def test_the_headers_have_gone_out_while_upstream_has_not_yet_said_a_word_of_its_answer(tmp_path: Path) -> None:
    play = stream(message(input_tokens=5, output_tokens=5), ending=End.STALL, ending_after=1)
    async with running(tmp_path, script=[play]) as gate:
        rider = await Rider.ask(gate, await gate.key(), streamed())
        await rider.until(b"message_start")

        assert set(QUOTED) <= set(rider.headers)
        assert [event["type"] for event in rider.events] == ["message_start"]
        rider.leave()


async def test_a_plain_answer_carries_the_quote_and_the_exact_charge(tmp_path: Path) -> None:
    async with running(tmp_path, script=[plain(message(input_tokens=11, output_tokens=7))]) as gate:
        answer = await gate.message(await gate.key())

        assert set(QUOTED) <= set(answer.headers)
        assert answer.headers["x-credits-charged"] == "46"  # 11 × 1 + 7 × 5
        assert answer.headers["content-type"] == "application/json"


async def test_a_stream_and_a_plain_call_of_the_same_words_are_quoted_alike(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        quoted = (await gate.post("/v1/messages/quote", key, ask())).json()
        answer = await gate.message(key)

        assert answer.headers["x-credits-max"] == quoted["credits_max"]
        assert answer.headers["x-credits-estimated"] == quoted["credits_estimated"]
        assert answer.headers["x-credits-input"] == quoted["credits_input"]
        assert answer.headers["x-credits-remaining"] == quoted["credits_remaining"]
        assert answer.headers["x-max-tokens-effective"] == str(quoted["max_tokens_effective"])
        assert answer.headers["x-price-version"] == quoted["price_version"] == gate.price().id


async def test_a_quote_sends_nothing_and_holds_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key(credits="1000")
        quoted = (await gate.post("/v1/messages/quote", key, ask())).json()

        assert quoted["affordable"] is True
        assert len(gate.upstream.log) == 0
        assert await gate.receipts(key) == []
        assert await gate.books() == (1_000 * NANOS_PER_CREDIT, 0)


async def test_the_ceiling_is_what_is_held_and_the_receipt_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key(credits="10000")
        answer = await gate.message(key)
        receipt = await gate.receipt(key, answer.json()["id"])

        ceiling = parse_credits(answer.headers["x-credits-max"])
        assert receipt["max"] == answer.headers["x-credits-max"]
        assert answer.headers["x-credits-remaining"] == show_credits(10_000 * NANOS_PER_CREDIT - ceiling)


async def test_the_ceiling_covers_the_cap_and_every_byte_at_the_dearest_rate(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key, price = await gate.key(), gate.price()
        mark: dict[str, Any] = {"type": "ephemeral", "ttl": "1h"}
        block = {"type": "text", "text": "Hello there", "cache_control": mark}
        marked = ask(messages=[{"role": "user", "content": [block]}])
        plain_quote = (await gate.post("/v1/messages/quote", key, ask())).json()
        marked_quote = (await gate.post("/v1/messages/quote", key, marked)).json()

        for quoted, rate in ((plain_quote, price.input), (marked_quote, price.cache_write_1h)):
            ceiling = quoted["input_tokens_max"] * rate + 100 * price.output
            assert parse_credits(quoted["credits_max"]) == ceiling
            assert quoted["input_tokens_max"] >= len("Hello there")


async def test_a_callers_own_limit_refuses_a_dearer_ceiling_before_anything_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key(credits="100000")
        ceiling = parse_credits((await gate.post("/v1/messages/quote", key, ask())).json()["credits_max"])
        refused = await gate.message(key, x_credits_limit=show_credits(ceiling - 1))
        error = refused.json()["error"]

        assert refused.status_code == 402
        assert (error["type"], error["details"]["error_code"]) == ("billing_error", "credit_limit_exceeded")
        assert error["details"]["required"] == show_credits(ceiling)
        assert error["details"]["affordable_max_tokens"] == 99
        assert error["details"]["available"] == "100000"
        assert refused.headers["x-should-retry"] == "false"
        assert len(gate.upstream.log) == 0
        assert await gate.books() == (100_000 * NANOS_PER_CREDIT, 0)

        assert (await gate.message(key, x_credits_limit=show_credits(ceiling))).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x_credits_limit", "a lot"),
        ("x_credits_limit", "1.2345"),
        ("x_credits_limit", "-1"),
        ("x_credits_on_shortfall", "maybe"),
        ("idempotency_key", "k" * 256),
    ],
)
async def test_a_header_that_makes_no_sense_is_refused_by_its_name(tmp_path: Path, header: str, value: str) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        refused = await gate.message(key, **{header: value})

        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith(header.replace("_", "-"))
        assert len(gate.upstream.log) == 0
        assert (await gate.books())[1] == 0


async def test_a_wallet_that_covers_less_clamps_max_tokens_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, script=[plain(message(input_tokens=5, output_tokens=300))]) as gate:
        rich = await gate.key("rich")
        body = ask(max_tokens=4_000)
        quoted = (await gate.post("/v1/messages/quote", rich, body)).json()
        price = gate.price()
        money = parse_credits(quoted["credits_max"]) - 1_000 * price.output
        key = await gate.key("poor", credits=show_credits(money))
        answer = await gate.message(key, body)

        assert answer.status_code == 200
        assert answer.headers["x-max-tokens-effective"] == "3000"
        assert answer.headers["x-credits-max"] == show_credits(money)
        assert answer.headers["x-credits-remaining"] == "0"
        assert gate.upstream.log[-1].document["max_tokens"] == 3_000
        assert await gate.books("poor") == (money - 5 * price.input - 300 * price.output, 0)


async def test_a_wallet_that_covers_fewer_than_256_tokens_is_told_what_it_affords(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        body = ask(max_tokens=4_000)
        quoted = (await gate.post("/v1/messages/quote", await gate.key("rich"), body)).json()
        price = gate.price()
        money = parse_credits(quoted["credits_max"]) - (4_000 - 255) * price.output
        key = await gate.key("poor", credits=show_credits(money))
        refused = await gate.message(key, body)
        details = refused.json()["error"]["details"]

        assert refused.status_code == 402
        assert details["error_code"] == "insufficient_credits"
        assert details["required"] == quoted["credits_max"]
        assert details["available"] == show_credits(money)
        assert details["affordable_max_tokens"] == 255
        assert refused.headers["x-should-retry"] == "false"
        assert len(gate.upstream.log) == 0

        accepted = await gate.message(key, ask(max_tokens=255))
        assert accepted.status_code == 200, "what the refusal says is affordable is affordable"


async def test_a_caller_who_refuses_to_be_clamped_is_refused_instead(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        body = ask(max_tokens=4_000)
        quoted = (await gate.post("/v1/messages/quote", await gate.key("rich"), body)).json()
        money = parse_credits(quoted["credits_max"]) - 1_000 * gate.price().output
        key = await gate.key("poor", credits=show_credits(money))
        refused = await gate.message(key, body, x_credits_on_shortfall="refuse")

        assert refused.status_code == 402
        assert refused.json()["error"]["details"]["affordable_max_tokens"] == 3_000
        assert len(gate.upstream.log) == 0
        assert await gate.books("poor") == (money, 0)


async def test_an_empty_wallet_is_refused_with_402(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key("empty", credits="0")
        refused = await gate.message(key)

        assert refused.status_code == 402
        assert refused.json()["error"]["details"]["affordable_max_tokens"] == 0
        assert refused.json()["error"]["details"]["available"] == "0"
        assert await gate.books("empty") == (0, 0)


async def test_the_keys_own_quota_bounds_the_call_and_its_rest_is_told(tmp_path: Path) -> None:
    async with running(tmp_path, script=[plain(message(input_tokens=10, output_tokens=2))]) as gate:
        key = await gate.key(quota="2000")
        answer = await gate.message(key)
        held = parse_credits(answer.headers["x-credits-max"])

        assert answer.headers["x-quota-remaining-credits"] == show_credits(2_000 * NANOS_PER_CREDIT - held)
        refused = await gate.message(key, ask(max_tokens=8_000), x_credits_on_shortfall="refuse")
        assert (refused.status_code, refused.json()["error"]["details"]["error_code"]) == (402, "quota_exceeded")
        assert refused.json()["error"]["details"]["available"] == "1980", "20 credits of the quota have been spent"


async def test_a_request_id_is_ours_in_the_header_in_every_error_body_and_in_the_receipt(tmp_path: Path) -> None:
    async with running(tmp_path, toml=NO_RETRY) as gate:
        key = await gate.key()
        answer, refused = await gate.message(key), await gate.message(key, b"{")

        assert re.fullmatch(r"req_[0-9A-Z]{26}", answer.headers["request-id"])
        assert refused.json()["request_id"] == refused.headers["request-id"] != answer.headers["request-id"]
        receipt = await gate.receipt(key, answer.json()["id"])
        assert receipt["request_id"] == answer.headers["request-id"]


async def test_the_estimate_learns_from_what_upstream_counted(tmp_path: Path) -> None:
    script = [plain(message(input_tokens=9, output_tokens=40))] * 2
    async with running(tmp_path, script=script) as gate:
        key, price = await gate.key(), gate.price()
        await gate.message(key)
        answer = await gate.message(key)

        assert parse_credits(answer.headers["x-credits-input"]) == 9 * price.input
        assert parse_credits(answer.headers["x-credits-estimated"]) == 9 * price.input + 40 * price.output
        assert answer.json()["model"] == MODEL
