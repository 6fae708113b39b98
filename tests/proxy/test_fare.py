"""A fare is what may be called, what it can cost, and what its caller is told; nothing in it reaches upstream unjudged.

Method: a wired gateway on the shipped catalog, callers as the door makes them, and each header that steers a quote.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faregate.core.errors import InvalidRequest, NotFound, PaymentRequired, Unsupported
from faregate.core.ledger import Basis, Reserved
from faregate.core.meter import Reading
from faregate.core.money import Nanos, parse_credits, show_credits
from faregate.proxy.fare import Fare, appraise, clamps, credit_limit, idempotency_key, within_credit_limit
from faregate.proxy.hold import Hold
from faregate.wire.usage import Usage
from tests.gateway import Gate, ask
from tests.proxy.standing import Server, standing


async def fare_of(gate: Gate, body: dict[str, Any], **headers: str) -> tuple[Fare, Server]:
    wired = gate.running.gate
    key = await wired.keys.find(await gate.key())
    model = wired.catalog.find(body["model"])
    assert key is not None and model is not None
    server = Server(body, **headers)
    return appraise(wired, key, body, model, server.caller), server


async def test_what_goes_upstream_is_our_own_serialisation_of_what_was_judged(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        body = ask(model="claude-haiku-4-5-20251001", thinking={"type": "adaptive"}, metadata={"user_id": "u"})
        fare, _ = await fare_of(gate, body, anthropic_version="2023-06-01", anthropic_beta="a,b")
        sent = fare.ask(100)

        assert json.loads(sent.body) == ask(metadata={"user_id": "u"})
        assert (sent.model, sent.version, sent.beta, sent.stream) == ("claude-haiku-4-5", "2023-06-01", "a,b", False)
        assert (fare.asked_model, fare.admitted.dropped) == ("claude-haiku-4-5-20251001", ("thinking",))
        assert sent.wallet_id == fare.key.wallet_id


async def test_a_clamp_changes_the_cap_that_is_sent_and_nothing_else(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, _ = await fare_of(gate, ask(max_tokens=900))

        assert fare.ask(900).body == fare.body
        assert json.loads(fare.ask(300).body) == ask(max_tokens=300)
        assert fare.admitted.document["max_tokens"] == 900, "the judged document is left alone"


async def test_a_reservation_holds_the_ceiling_under_a_fresh_id(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, server = await fare_of(gate, ask(max_tokens=900), idempotency_key="once")
        one, two = [fare.reservation(gate.running.gate, server.caller) for _ in range(2)]

        assert one.charge_id != two.charge_id and one.charge_id.startswith("msg_")
        assert one.input_ceiling + one.max_tokens * one.output_price == fare.quote.ceiling
        assert (one.max_tokens, one.min_tokens, one.idempotency_key) == (900, 256, "once")
        guess = fare.quote.guess
        assert (one.input_tokens, one.output_tokens) == (guess.input_tokens, guess.usage.output) != (0, 0)
        assert one.input_tokens_max == fare.quote.input_tokens_max > one.input_tokens
        assert one.abandon_budget == gate.running.gate.abandon_budget == 1_000_000_000
        assert one.body_sha256 == hashlib.sha256(fare.body).digest()
        refusing = Server(x_credits_on_shortfall="refuse").caller
        assert fare.reservation(gate.running.gate, refusing).min_tokens == 900


async def test_the_headers_tell_what_is_held_and_not_what_was_asked(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, server = await fare_of(gate, ask(max_tokens=900, stream=True, thinking={"type": "adaptive"}))
        wired = gate.running.gate
        reserved = Reserved(held=Nanos(1_234_567), max_tokens=10, available=Nanos(5_500), quota_available=Nanos(70))
        hold = Hold(wired, fare.reservation(wired, server.caller), fare.quote.price, reserved)
        headers = dict(fare.headers(wired, hold, wired.upstreams["fake"]))

        assert headers[b"x-credits-max"] == b"1234.567"
        assert headers[b"x-credits-remaining"] == b"5.5"
        assert headers[b"x-max-tokens-effective"] == b"10"
        assert headers[b"x-quota-remaining-credits"] == b"0.07"
        assert headers[b"x-price-version"] == fare.quote.price.id.encode()
        assert headers[b"x-dropped-parameters"] == b"thinking"
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert parse_credits(headers[b"x-credits-estimated"].decode()) == fare.quote.fit(10)[1] < fare.quote.estimated
        assert headers[b"x-credits-input"].decode() == show_credits(fare.quote.input_estimated)
        assert b"x-faregate-upstream" not in headers


async def test_only_what_upstream_said_teaches_the_estimate(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, _ = await fare_of(gate, ask())
        wired, usage = gate.running.gate, Usage(input=7, output=41)

        def guess() -> Usage:
            return appraise(wired, fare.key, ask(), fare.admitted.model, Server().caller).quote.guess.usage

        before = guess()
        fare.learn(wired, Reading(usage=usage, basis=Basis.COUNTED), finished=True)
        assert guess() == before
        fare.learn(wired, Reading(usage=usage, basis=Basis.UPSTREAM), finished=True)
        assert guess() == usage


async def test_cache_writes_that_come_unsplit_are_of_the_only_ttl_that_was_asked_for(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        for ttls, column in (
            (("1h",), "cache_write_1h"),
            (("5m",), "cache_write_5m"),
            (("5m", "1h"), "cache_write_5m"),
        ):
            marks = [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", "ttl": ttl}} for ttl in ttls]
            fare, _ = await fare_of(gate, ask(messages=[{"role": "user", "content": marks}]))
            meter = fare.meter()
            meter.start({"input_tokens": 1, "cache_creation_input_tokens": 50})
            assert getattr(meter.close().usage, column) == 50, ttls


async def test_what_the_catalog_does_not_allow_is_refused_here(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        for body, refusal, words in (
            (ask(max_tokens=9_000), InvalidRequest, "max_tokens: 9000 > 8192"),
            (ask(mcp_servers=[]), Unsupported, "mcp_servers"),
            (ask(messages=[{"role": "user", "content": "x" * 900_000}]), InvalidRequest, "prompt is too long: "),
        ):
            with pytest.raises(refusal, match=words):
                await fare_of(gate, body)


async def test_a_model_without_a_price_in_force_is_not_found(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, server = await fare_of(gate, ask())
        ancient = msgspec.structs.replace(gate.running.gate, now_ms=lambda: 0)
        with pytest.raises(NotFound, match="has no price in force yet"):
            appraise(ancient, fare.key, ask(), fare.admitted.model, server.caller)


async def test_the_headers_that_steer_are_read_or_refused_by_name() -> None:
    assert credit_limit(Server().caller) is None
    assert credit_limit(Server(x_credits_limit="12.5").caller) == 12_500
    assert clamps(Server().caller) and clamps(Server(x_credits_on_shortfall=" Clamp ").caller)
    assert not clamps(Server(x_credits_on_shortfall="refuse").caller)
    assert idempotency_key(Server().caller) is None
    assert idempotency_key(Server(idempotency_key="k" * 255).caller) == "k" * 255
    for read, header, value in (
        (credit_limit, "x_credits_limit", "-0.001"),
        (credit_limit, "x_credits_limit", "1e3"),
        (clamps, "x_credits_on_shortfall", "no"),
        (idempotency_key, "idempotency_key", ""),
        (idempotency_key, "idempotency_key", "k" * 256),
    ):
        with pytest.raises(InvalidRequest, match=header.replace("_", "-")):
            read(Server(**{header: value}).caller)


async def test_a_call_whose_ceiling_is_its_callers_own_limit_passes_and_above_it_none(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        fare, _ = await fare_of(gate, ask())
        limits = [show_credits(Nanos(fare.quote.ceiling - less)) for less in (0, 1)]
        await within_credit_limit(gate.running.gate, fare, Server(x_credits_limit=limits[0]).caller)
        with pytest.raises(PaymentRequired) as refused:
            await within_credit_limit(gate.running.gate, fare, Server(x_credits_limit=limits[1]).caller)

        assert refused.value.code == "credit_limit_exceeded"
