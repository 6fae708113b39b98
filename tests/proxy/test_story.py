"""The life of one call, in its order: each step that refuses stops it there, and every call is observed once.

Method: a wired gateway with an observer that remembers, callers as the door makes them, and a look at what the later
steps had seen.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from faregate.core.ledger import Outcome
from faregate.core.money import Nanos
from faregate.proxy import story
from faregate.store import sqlite
from faregate.store.port import Ledger
from faregate.store.prices import Prices
from faregate.upstreams.script import End, Play, events, failure, frames_of, plain, stream
from faregate.wire.usage import Usage
from tests.contract.riders import message, until
from tests.gateway import MODEL, ask
from tests.proxy.standing import Server, standing, watched

GOOD = message(input_tokens=5, output_tokens=3)
COST = 5 * 1_000 + 3 * 5_000
OPENING = 1_000_000_000
STALL = Play(ending=End.STALL, raw=b"")


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_call_that_goes_well_is_one_record_with_all_its_facts(tmp_path: Path, is_stream: bool) -> None:  # noqa: FBT001
    async with standing(tmp_path, script=[stream(GOOD) if is_stream else plain(GOOD)]) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        server = Server(ask(stream=is_stream), x_api_key=key)
        await story.serve(wired, server.caller)
        (record,) = watcher.records

        assert server.status == record.status == 200
        assert (record.outcome, record.charged, record.usage) == (Outcome.OK, COST, Usage(input=5, output=3))
        assert (record.model, record.stream, record.upstream) == (MODEL, is_stream, "fake")
        assert [record.held] == watcher.holds
        assert [attempt.error for attempt in record.attempts] == [None]
        assert record.charge_id is not None and record.key_id is not None and record.key_id in key
        assert record.first_event_ms is not None and record.total_ms >= record.first_event_ms > 0
        assert record.added_ms is not None and 0 < record.added_ms <= record.total_ms
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_call_is_quoted_by_what_the_database_says_while_nobody_would_tell_us_of_a_price(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        store, wired = gate.running.store, gate.running.gate
        now_ms = wired.now_ms()
        dearer = msgspec.structs.replace(gate.price(), id="dearer", valid_from_ms=now_ms, output=Nanos(9_000))
        store.prices.trust(False)
        await Prices(store.ledger._writer, store.office._readers, []).add(dearer, now_ms=now_ms)  # another replica
        server = Server(ask(), x_api_key=key)
        await story.serve(wired, server.caller)

        assert server.headers["x-price-version"] == "dearer"
        assert await gate.books() == (OPENING - 5 * 1_000 - 3 * 9_000, 0)


REFUSED: list[tuple[Any, dict[str, str], int, str]] = [
    (ask(), {"x_api_key": "nonsense"}, 401, "invalid_api_key"),
    (b"{", {}, 400, "invalid_body"),
    (ask(model="unknown"), {}, 404, "model_not_found"),
    (ask(max_tokens=9_000), {}, 400, "invalid_param"),
    (ask(mcp_servers=[]), {}, 422, "unsupported_parameter"),
    (ask(), {"x_credits_limit": "0.001"}, 402, "credit_limit_exceeded"),
    (ask(), {"idempotency_key": "k" * 300}, 400, "invalid_param"),
]


async def test_what_is_refused_is_refused_before_the_hold(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        for body, headers, status, code in REFUSED:
            server = Server(body, **{"x_api_key": key, **headers})
            await story.serve(wired, server.caller)
            record = watcher.records[-1]

            assert (server.status, record.status, record.error_code) == (status, status, code)
            assert (record.charge_id, record.outcome, record.held) == (None, None, 0)
        assert len(watcher.records) == len(REFUSED)
        assert watcher.holds == [] and len(gate.upstream.log) == 0
        assert await gate.receipts(key) == []


async def test_the_key_is_judged_before_the_body_is_read(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        server = Server(b"{", x_api_key="nonsense")
        await story.serve(gate.running.gate, server.caller)

        assert server.status == 401


async def test_a_call_that_fails_gives_back_what_its_rates_had_taken(tmp_path: Path) -> None:
    script = [failure(400, "invalid_request_error", "no"), plain(GOOD)]
    async with standing(tmp_path, script=script) as gate:
        key = await gate.key(concurrency=1, input_tokens_per_minute=60)
        wired, watcher = watched(gate)
        for status in (400, 200):
            server = Server(ask(), x_api_key=key)
            await story.serve(wired, server.caller)
            assert server.status == status
        full = {name: value for name, value in server.headers.items() if name.endswith("input-tokens-remaining")}

        assert list(full) == ["anthropic-ratelimit-input-tokens-remaining"]
        assert len(watcher.records) == 2


async def test_a_wallet_that_refuses_frees_the_rates_too(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key("empty", credits="0", concurrency=1)
        for _ in range(3):
            server = Server(ask(), x_api_key=key)
            await story.serve(gate.running.gate, server.caller)
            assert server.status == 402, "and not 429: the call before is over"


async def test_a_caller_who_leaves_is_499_in_the_log_and_gets_no_answer(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[STALL]) as gate:
        wired, watcher = watched(gate)
        server = Server(ask(stream=True), x_api_key=await gate.key())
        serving = asyncio.create_task(story.serve(wired, server.caller))
        await until(lambda: len(gate.upstream.log) == 1)
        await server.hang_up()
        await serving
        (record,) = watcher.records

        assert (record.status, record.outcome, record.charged) == (499, Outcome.CLIENT_GONE, 0)
        assert server.line.written == []
        assert await gate.books() == (OPENING, 0)


@pytest.mark.parametrize("frames", [0, 5], ids=["before the first byte", "within the stream"])
async def test_a_stop_of_the_gateway_bills_nothing_and_frees_the_hold(tmp_path: Path, frames: int) -> None:
    play = events(frames_of(GOOD), ending=End.STALL, ending_after=frames) if frames else STALL
    async with standing(tmp_path, script=[play]) as gate:
        wired, watcher = watched(gate)
        key = await gate.key()
        server = Server(ask(stream=True), x_api_key=key)
        serving = asyncio.create_task(story.serve(wired, server.caller))
        await until(lambda: gate.upstream.log and server.body.count(b"event: ") >= frames)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"], receipt["charged"]) == ("released", "shutdown", "0")
        assert len(watcher.records) == 1
        assert await gate.books() == (OPENING, 0)
        await until(lambda: gate.upstream.log[0].hung_up)
        await server.hang_up()


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
async def test_a_stop_that_comes_while_the_charge_is_written_does_not_bill_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_stream: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_WAIT_MS", 60_000)
    async with standing(tmp_path, script=[stream(GOOD) if is_stream else plain(GOOD)]) as gate:
        key = await gate.key()
        server = Server(ask(stream=is_stream), x_api_key=key)
        settling = asyncio.Event()
        with contextlib.closing(sqlite3.connect(tmp_path / "home" / "faregate.db", isolation_level=None)) as other:
            wired, _ = watched(gate)

            class Locked:
                """The ledger; the file is locked by another program when the charge is to be written."""

                def __getattr__(self, name: str) -> Any:
                    if name == "settle" and not settling.is_set():
                        other.execute("BEGIN IMMEDIATE")
                        settling.set()
                    return getattr(wired.ledger, name)

            serving = asyncio.create_task(
                story.serve(msgspec.structs.replace(wired, ledger=cast(Ledger, Locked())), server.caller)
            )
            await settling.wait()
            serving.cancel()
            await asyncio.sleep(0)
            other.execute("ROLLBACK")
        await serving
        (receipt,) = await gate.settled(key)

        assert (receipt["state"], receipt["outcome"]) == ("settled", "ok")
        assert server.status == 200 and b'"error"' not in server.body
        assert server.body.endswith(frames_of(GOOD)[-1]) if is_stream else b"msg_" in server.body
        assert await gate.books() == (OPENING - COST, 0)


async def test_a_fault_of_our_own_is_one_clean_500_and_the_operator_gets_the_reason(tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("10.0.0.1 says no")

    async with standing(tmp_path, script=[stream(GOOD)]) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        broken = msgspec.structs.replace(wired, estimator=Broken())
        server = Server(ask(), x_api_key=key)
        await story.serve(broken, server.caller)

        assert server.status == 500
        assert b"10.0.0.1" not in server.body and b"You were not billed" in server.body
        assert watcher.troubles == ["a request failed by a fault of the gateway"]
        assert watcher.records[0].error_code == "internal"
        assert await gate.books() == (OPENING, 0)


async def test_what_the_ledger_refuses_is_told_to_the_operator_with_its_cause(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[stream(GOOD)]) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        twice = msgspec.structs.replace(wired, new_id=lambda prefix: f"{prefix}the-same-each-time")
        for _ in range(2):
            server = Server(ask(), x_api_key=key)
            await story.serve(twice, server.caller)

        assert server.status == 500 and b"UNIQUE" not in server.body
        assert watcher.troubles == ["The ledger refused this. Nothing was charged."]
        assert watcher.records[-1].error_code == "internal"


async def test_a_fault_of_our_own_with_the_hold_open_releases_it(tmp_path: Path) -> None:
    async with standing(tmp_path, script=[plain(GOOD)]) as gate:
        key = await gate.key()
        wired, watcher = watched(gate)
        broken = msgspec.structs.replace(wired, upstreams={})
        server = Server(ask(), x_api_key=key)
        await story.serve(broken, server.caller)
        (receipt,) = await gate.receipts(key)

        assert server.status == 500
        assert (receipt["state"], receipt["outcome"]) == ("released", "gateway_error")
        assert watcher.records[0].outcome is Outcome.GATEWAY_ERROR
        assert await gate.books() == (OPENING, 0)


def test_letting_go_of_an_error_ends_where_its_causes_come_back_to_it() -> None:
    first, second = ValueError(), KeyError()
    for error, cause in ((first, second), (second, first)):
        with contextlib.suppress(Exception):
            raise error from cause
    assert first.__cause__ is second and second.__cause__ is first

    story._let_go(first)
    assert first.__traceback__ is None and second.__traceback__ is None
