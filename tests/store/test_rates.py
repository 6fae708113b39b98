"""A key's rates and its concurrency live in the ledger: whoever asks, and whenever, meets the same.

Method: the real ledger on a file. Two processes on one database are played by two ledgers over one writer, which share
no memory; a crash by a store that is opened again with calls left open.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import InFlight, PaymentRequired, RateLimited
from faregate.core.limits import MINUTE_MS, Bucket
from faregate.core.money import Nanos
from faregate.store import rates
from faregate.store.charges import Charges
from faregate.store.statements import COUNT_OPEN
from faregate.store.store import Store
from tests.store.books import KEY, NOW, WALLET, fund, funds, key, message, opening, place, release, reserve, settle
from tests.store.raw import INTEGRITY, Raw, SqliteRaw, raw_on


def call(number: int, **fields: Any) -> Any:
    """A call that takes 10 tokens of input and 20 of output, at a clock that stands still."""
    plain = {"input_tokens": 10, "output_tokens": 20, "input_tokens_max": 1_000, "at_ms": NOW}
    return reserve(number, **(plain | fields))


async def refusal(ledger: Any, command: Any) -> RateLimited:
    with pytest.raises(RateLimited) as refused:
        await ledger.reserve(command)
    return refused.value


def levels(reserved: Any) -> dict[str, int]:
    return {bucket.name: bucket.remaining for bucket in reserved.rates}


def two_ledgers(store: Store) -> tuple[Charges, Charges]:
    """Two processes' ledgers on one database: nothing is shared but what is in it."""
    one = store.ledger
    return one, Charges(one._writer, one._keys, node="other", incarnation=1)


# Rates ------------------------------------------------------------------------------------------------------------


async def test_a_key_without_rates_is_told_none_and_leaves_no_row(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        assert (await store.ledger.reserve(call(1))).rates == ()
        await store.ledger.settle(settle(1, unused_input_tokens=5, unused_output_tokens=-5))
        assert await funds(store) == (9_850_000, 0)

    assert rows(folder) == []


async def test_each_rate_is_taken_with_the_hold_and_told_as_it_then_stands(store: Store) -> None:
    await fund(store, 10_000_000, requests_per_minute=5, input_tokens_per_minute=100, output_tokens_per_minute=200)
    first = await store.ledger.reserve(call(1))
    second = await store.ledger.reserve(call(2))

    assert first.rates == (
        Bucket("requests", 5, 4 * MINUTE_MS, NOW),
        Bucket("input_tokens", 100, 90 * MINUTE_MS, NOW),
        Bucket("output_tokens", 200, 180 * MINUTE_MS, NOW),
    )
    assert levels(second) == {"requests": 3, "input_tokens": 80, "output_tokens": 160}
    later = await store.ledger.reserve(call(3, at_ms=NOW + 6_000))
    assert levels(later) == {"requests": 2, "input_tokens": 80, "output_tokens": 160}


@pytest.mark.parametrize("name", ["requests", "input_tokens", "output_tokens"])
async def test_replicas_share_each_rate_to_the_last_call(store: Store, name: str) -> None:
    limit = {"requests": 7, "input_tokens": 79, "output_tokens": 159}[name]
    await fund(store, 100_000_000, **{f"{name}_per_minute": limit})
    ledgers = two_ledgers(store)
    answers = await asyncio.gather(
        *(ledgers[number % 2].reserve(call(number)) for number in range(40)), return_exceptions=True
    )

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 7
    refused = [answer for answer in answers if isinstance(answer, RateLimited)]
    assert len(refused) == 33 and {error.code for error in refused} == {name}
    assert await funds(store) == (100_000_000, 7 * 600_000)


@pytest.mark.parametrize("end", [settle, release])
async def test_what_a_call_did_not_use_goes_back_once_and_what_it_used_beyond_is_taken(store: Store, end: Any) -> None:
    await fund(store, 10_000_000, requests_per_minute=9, input_tokens_per_minute=100, output_tokens_per_minute=100)
    one, other = two_ledgers(store)
    verb = one.settle if end is settle else one.release
    await one.reserve(call(1))
    for _ in range(3):
        await verb(end(1, unused_input_tokens=7, unused_output_tokens=-30))

    after = await other.reserve(call(2, input_tokens=0, output_tokens=0))
    assert levels(after) == {"requests": 7, "input_tokens": 97, "output_tokens": 50}


async def test_a_release_of_a_call_that_was_refused_gives_nothing_back(store: Store) -> None:
    await fund(store, 100_000, input_tokens_per_minute=100)
    with pytest.raises(PaymentRequired):
        await store.ledger.reserve(call(1))
    await store.ledger.release(release(1, unused_input_tokens=50))

    free = call(2, input_ceiling=Nanos(0), max_tokens=0, min_tokens=0, input_tokens=60)
    assert levels(await store.ledger.reserve(free)) == {"input_tokens": 40}
    await store.ledger.release(release(3, unused_input_tokens=50))
    assert (await refusal(store.ledger, call(4, input_tokens=41))).code == "input_tokens"


async def test_who_is_refused_takes_nothing_from_any_rate_and_holds_nothing(store: Store) -> None:
    await fund(store, 10_000_000, requests_per_minute=9, output_tokens_per_minute=25, spend_5h=Nanos(700_000))
    await store.ledger.reserve(call(1))
    for number in range(20):
        assert (await refusal(store.ledger, call(10 + number))).code == "output_tokens"
        spent = await refusal(store.ledger, call(40 + number, output_tokens=0))
        assert spent.code == "spend_5h"
        assert (b"anthropic-ratelimit-requests-remaining", b"8") in spent.headers

    last = await store.ledger.reserve(call(2, output_tokens=5, max_tokens=0, min_tokens=0))
    assert levels(last) == {"requests": 7, "output_tokens": 0}
    assert await funds(store) == (10_000_000, 700_000)


async def test_a_restart_gives_nothing_away(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000, requests_per_minute=2)
        for number in (1, 2):
            await store.ledger.reserve(call(number))
            await store.ledger.settle(settle(number))
    async with opening(folder) as store:
        error = await refusal(store.ledger, call(3))
        assert (error.code, error.retry_after_s) == ("requests", 30)
        assert (b"anthropic-ratelimit-requests-remaining", b"0") in error.headers
        assert levels(await store.ledger.reserve(call(4, at_ms=NOW + 30_000))) == {"requests": 0}


async def test_the_repeat_is_judged_before_the_rates_and_the_wallet_after_them(store: Store) -> None:
    await fund(store, 700_000, requests_per_minute=2, concurrency=1)
    await store.ledger.reserve(call(1, idempotency_key="same"))

    with pytest.raises(InFlight):
        await store.ledger.reserve(call(2, idempotency_key="same"))
    assert (await refusal(store.ledger, call(3))).code == "concurrency"
    await store.ledger.release(release(1))
    await store.ledger.reserve(call(4))
    await store.ledger.settle(settle(4))
    assert (await refusal(store.ledger, call(5))).code == "requests"
    with pytest.raises(PaymentRequired):
        await store.ledger.reserve(call(6, at_ms=NOW + MINUTE_MS))


async def test_a_rate_that_somebody_else_changed_in_between_is_not_written_over(raw: Raw) -> None:
    raw.do(rate("requests", 5 * MINUTE_MS))
    command = call(1)
    stale = rates.Rates((Bucket("requests", 9, 5 * MINUTE_MS, NOW),), {"requests": (5 * MINUTE_MS, NOW - 1)})

    with pytest.raises(AssertionError, match="changed between"):
        rates.take(raw.connection, command, stale)
    assert raw.one("SELECT level FROM rate") == 5 * MINUTE_MS


# Concurrency ------------------------------------------------------------------------------------------------------


async def test_replicas_share_a_keys_concurrency_and_its_calls_free_it_by_ending(store: Store) -> None:
    await fund(store, 100_000_000, concurrency=3)
    ledgers = two_ledgers(store)
    answers = await asyncio.gather(
        *(ledgers[number % 2].reserve(call(number)) for number in range(20)), return_exceptions=True
    )
    assert [isinstance(answer, RateLimited) for answer in answers] == [False] * 3 + [True] * 17
    error = await refusal(ledgers[1], call(30))
    assert (error.code, error.retry_after_s) == ("concurrency", 1)

    ledgers[0].streaming(message(0), WALLET, NOW)
    await ledgers[0].settle(settle(0))
    await ledgers[1].release(release(1))
    await ledgers[1].release(release(1))
    for number in (31, 32):
        await ledgers[number % 2].reserve(call(number))
    assert (await refusal(ledgers[0], call(33))).code == "concurrency"


async def test_another_keys_calls_do_not_count(store: Store) -> None:
    await fund(store, 100_000_000, concurrency=1)
    await store.office.key_create(key(id="key_2", concurrency=1), secret="two")
    await store.ledger.reserve(call(1))
    await store.ledger.reserve(call(2, key_id="key_2"))
    assert (await refusal(store.ledger, call(3))).code == "concurrency"


async def test_the_open_calls_of_a_dead_process_free_the_key_when_they_are_swept(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000, concurrency=2)
        for number in (1, 2):
            await store.ledger.reserve(call(number))
        assert (await refusal(store.ledger, call(3))).code == "concurrency"
    async with opening(folder) as store:
        for number in (4, 5):
            await store.ledger.reserve(call(number))
        assert (await refusal(store.ledger, call(6))).code == "concurrency"


# What the database itself refuses -----------------------------------------------------------------------------------


def rate(name: str, level: object, seen_at: object = NOW, key_id: str = KEY) -> str:
    return (
        "INSERT INTO rate(wallet_id, key_id, name, level, seen_at) "
        f"VALUES ('{WALLET}', '{key_id}', '{name}', {level}, {seen_at})"
    )


def abandoned(lost: object, since: object = NOW, key_id: str = KEY) -> str:
    return f"INSERT INTO abandoned(wallet_id, key_id, lost, since) VALUES ('{WALLET}', '{key_id}', {lost}, {since})"


@pytest.mark.parametrize(
    "statement",
    [
        rate("requests", 10**18 + 1),
        rate("requests", -(10**18) - 1),
        rate("requests", "NULL"),
        rate("requests", 0, -1),
        rate("dollars", 0),
        rate("requests", 0, key_id="nobody"),
        abandoned(0),
        abandoned(-1),
        abandoned(1, -1),
        abandoned(1, key_id="nobody"),
    ],
)
def test_the_database_refuses_a_rate_that_cannot_be(raw: Raw, statement: str) -> None:
    with pytest.raises(INTEGRITY):
        raw.do(statement)


@pytest.mark.parametrize("statement", [rate("requests", 0.5), abandoned(0.5)])
def test_a_file_refuses_a_part_of_a_unit(tmp_path: Path, statement: str) -> None:
    raw = SqliteRaw(tmp_path / "raw.db")
    with pytest.raises(INTEGRITY):
        raw.do(statement)
    raw.close()


def test_the_database_keeps_one_row_for_each_rate_of_a_key(raw: Raw) -> None:
    raw.do(rate("requests", 5), rate("input_tokens", -5), abandoned(1))
    for again in (rate("requests", 6), abandoned(2)):
        raw.refuses(again, because="UNIQUE")


def test_open_calls_of_a_key_are_counted_in_an_index_of_open_calls(raw: Raw) -> None:
    assert [step for step in raw.plan(COUNT_OPEN) if "charge_open_calls_by_key" in step]


def rows(folder: Path) -> list[Any]:
    raw = raw_on(place(folder))
    found = raw.rows()
    raw.close()
    return found["rate"] + found["abandoned"]
