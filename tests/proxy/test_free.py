"""A quote and a count cost nothing, hold nothing, and walk the same road as a call up to its hold.

Method: a wired gateway, an upstream that counts or does not, and wallets that afford more or less.
"""

from pathlib import Path

import msgspec
import pytest

from faregate.core.errors import Forbidden, InvalidRequest, Unauthenticated
from faregate.core.money import parse_credits, show_credits
from faregate.proxy import free
from faregate.store.prices import Prices
from faregate.upstreams.script import failure, plain
from tests.gateway import ask
from tests.proxy.standing import Server, standing, watched


async def test_a_quote_says_what_a_call_would_be_told(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        quoted = await free.quote(gate.running.gate, Server(ask(thinking={"type": "adaptive"}), x_api_key=key).caller)
        price = gate.price()

        assert parse_credits(quoted["credits_max"]) == quoted["input_tokens_max"] * price.input + 100 * price.output
        assert quoted["affordable"] is True and quoted["max_tokens_effective"] == 100
        assert quoted["dropped_parameters"] == ["thinking"]
        assert parse_credits(quoted["credits_remaining"]) == 1_000_000_000 - parse_credits(quoted["credits_max"])
        assert (len(gate.upstream.log), await gate.books()) == (0, (1_000_000_000, 0))


async def test_a_quote_is_made_by_what_the_database_says_while_nobody_would_tell_us_of_a_price(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        store, wired = gate.running.store, gate.running.gate
        now_ms = wired.now_ms()
        dearer = msgspec.structs.replace(gate.price(), id="dearer", valid_from_ms=now_ms)
        store.prices.trust(False)
        await Prices(store.ledger._writer, store.office._readers, []).add(dearer, now_ms=now_ms)  # another replica
        quoted = await free.quote(wired, Server(ask(), x_api_key=key).caller)

        assert quoted["price_version"] == "dearer"


async def test_a_quote_for_too_little_money_clamps_as_a_call_would_and_says_when_it_cannot(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        wired, body = gate.running.gate, ask(max_tokens=4_000)
        rich = await free.quote(wired, Server(body, x_api_key=await gate.key("rich")).caller)
        short = parse_credits(rich["credits_max"]) - 1_000 * gate.price().output
        poor = await gate.key("poor", credits=show_credits(short))
        clamped = await free.quote(wired, Server(body, x_api_key=poor).caller)
        refused = await free.quote(wired, Server(body, x_api_key=poor, x_credits_on_shortfall="refuse").caller)

        assert (clamped["affordable"], clamped["max_tokens_effective"]) == (True, 3_000)
        assert (clamped["credits_max"], clamped["credits_remaining"]) == (show_credits(short), "0")
        assert (refused["affordable"], refused["max_tokens_effective"]) == (False, 0)
        assert (refused["credits_max"], refused["credits_remaining"]) == (rich["credits_max"], show_credits(short))


async def test_a_quote_heeds_the_keys_own_caps(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key(quota="100")
        quoted = await free.quote(gate.running.gate, Server(ask(), x_api_key=key).caller)

        assert quoted["affordable"] is False
        assert (quoted["credits_remaining"], quoted["quota_remaining_credits"]) == ("1000000", "100")


async def test_a_quote_refuses_what_a_call_would_be_refused_for(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        wired, key = gate.running.gate, await gate.key(models=("claude-opus-4-7",))
        with pytest.raises(Unauthenticated):
            await free.quote(wired, Server(ask()).caller)
        with pytest.raises(Forbidden):
            await free.quote(wired, Server(ask(), x_api_key=key).caller)
        with pytest.raises(InvalidRequest, match="max_tokens"):
            await free.quote(wired, Server(ask(max_tokens=9_000), x_api_key=await gate.key()).caller)


async def test_a_count_is_upstreams_own(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[plain({"input_tokens": 4_711})]) as gate:
        body = {name: value for name, value in ask().items() if name != "max_tokens"}
        counted = await free.count_tokens(gate.running.gate, Server(body, x_api_key=await gate.key()).caller)

        assert counted == 4_711
        assert gate.upstream.log[0].path == "/v1/messages/count_tokens"
        assert await gate.books() == (1_000_000_000, 0)


async def test_where_upstream_cannot_count_it_is_our_estimate_and_the_operator_is_told_without_an_address(
    tmp_path: Path,
) -> None:
    script = [failure(404, "not_found_error", "no"), failure(503, "api_error", "no"), plain({"tokens": 1})]
    async with standing(tmp_path, script=script) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        for _ in range(len(script)):
            assert 1 <= await free.count_tokens(wired, Server(ask(), x_api_key=key).caller) < 100
        await gate.upstream.stop()
        assert 1 <= await free.count_tokens(wired, Server(ask(), x_api_key=key).caller) < 100

        assert len(watcher.troubles) == 3, "a 404 is no trouble: it has no such endpoint"
        assert all(trouble.startswith("fake did not count tokens") for trouble in watcher.troubles)
        assert not any("127.0.0.1" in trouble for trouble in watcher.troubles)


async def test_upstreams_refusal_to_count_is_the_callers(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[failure(400, "invalid_request_error", "messages: odd")]) as gate:
        with pytest.raises(InvalidRequest, match="messages: odd"):
            await free.count_tokens(gate.running.gate, Server(ask(), x_api_key=await gate.key()).caller)
