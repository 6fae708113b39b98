"""An answer is kept with the settle of its call or not at all, is read by its wallet until its time is over, then gone.

Method: the ledger's own commands on both databases; the table is counted in raw SQL.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import Internal, Repeated
from faregate.core.ledger import Answer
from faregate.core.money import Nanos
from faregate.store import answers
from faregate.store.reserve import reserve as reserve_now
from faregate.store.settle import settle as settle_now
from faregate.store.store import Store
from tests.store.books import NOW, WALLET, fund, funds, message, opening, place, release, reserve, settle
from tests.store.raw import Raw, SqliteRaw, raw_on

ANSWER = Answer(
    headers=[("content-type", "application/json"), ("x-credits-max", "0.6")],
    body=bytes(range(256)) * 300,
    kept_until_ms=NOW + 10_000,
)


def kept(folder: Path) -> int:
    raw = raw_on(place(folder))
    count = int(raw.one("SELECT COUNT(*) FROM answer"))
    raw.close()
    return count


async def settled(store: Store, number: int, **fields: Any) -> None:
    await store.ledger.reserve(reserve(number, idempotency_key=f"key {number}"))
    await store.ledger.settle(settle(number, **fields))


async def test_what_is_kept_is_read_back_byte_for_byte(store: Store) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1, answer=ANSWER)

    assert await store.records.answer(WALLET, message(1), NOW) == ANSWER


async def test_a_call_whose_answer_is_not_kept_leaves_none(store: Store, folder: Path) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1)

    assert await store.records.answer(WALLET, message(1), NOW) is None
    assert kept(folder) == 0


async def test_another_wallet_reads_nothing(store: Store) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1, answer=ANSWER)

    assert await store.records.answer("wal_2", message(1), NOW) is None


async def test_a_settle_that_comes_again_changes_nothing_of_it(store: Store) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1, answer=ANSWER)
    await store.ledger.settle(settle(1, answer=Answer(headers=[], body=b"other", kept_until_ms=NOW + 1)))

    assert await store.records.answer(WALLET, message(1), NOW) == ANSWER


async def test_of_a_charge_that_had_been_given_back_no_answer_is_kept(store: Store, folder: Path) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))
    await store.ledger.release(release(1))
    with pytest.raises(Internal):
        await store.ledger.settle(settle(1, answer=ANSWER))

    assert kept(folder) == 0


async def test_a_settle_that_is_refused_keeps_no_answer(store: Store, folder: Path) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1, idempotency_key="same"))
    with pytest.raises(Internal):
        await store.ledger.settle(settle(1, charged=600_001, answer=ANSWER))

    assert kept(folder) == 0


async def test_it_is_there_in_the_next_life(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 10_000_000)
        await settled(store, 1, answer=ANSWER)
    async with opening(folder) as store:
        assert await store.records.answer(WALLET, message(1), NOW) == ANSWER


async def test_when_its_time_is_over_it_is_not_read_though_it_is_still_there(store: Store, folder: Path) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1, answer=ANSWER)

    assert await store.records.answer(WALLET, message(1), ANSWER.kept_until_ms - 1) == ANSWER
    assert await store.records.answer(WALLET, message(1), ANSWER.kept_until_ms) is None
    assert kept(folder) == 1


async def test_forgetting_takes_those_whose_time_is_over_and_the_call_stays_billed_once(
    store: Store, folder: Path
) -> None:
    await fund(store, 10_000_000)
    await settled(store, 1, answer=ANSWER)
    await settled(store, 2, answer=Answer(headers=[], body=b"later", kept_until_ms=ANSWER.kept_until_ms + 1))

    assert await store.records.forget_answers(ANSWER.kept_until_ms - 1) == 0
    assert await store.records.forget_answers(ANSWER.kept_until_ms) == 1
    assert kept(folder) == 1
    assert await store.records.answer(WALLET, message(2), NOW) is not None
    with pytest.raises(Repeated):
        await store.ledger.reserve(reserve(3, idempotency_key="key 1"))
    assert await funds(store) == (9_700_000, 0)


async def test_many_are_forgotten_in_small_steps(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "STEP", 2)
    await fund(store, 10_000_000)
    for number in range(1, 6):
        await settled(store, number, answer=ANSWER)
    at = ANSWER.kept_until_ms

    assert [await store.records.forget_answers(at) for _ in range(4)] == [2, 2, 1, 0]
    assert kept(folder) == 0


async def test_two_replicas_forget_at_once(database: Path) -> None:
    async with opening(database, node="a") as one, opening(database, node="b") as other:
        await fund(one, 10_000_000)
        for number in range(1, 21):
            await settled(one, number, answer=ANSWER)
        over = ANSWER.kept_until_ms
        found = await asyncio.gather(*(store.records.forget_answers(over) for store in (one, other)))

        assert sum(found) >= 20, "who comes second may have seen them too, and finds nothing to delete"
        assert kept(database) == 0


async def test_a_settle_that_goes_to_the_spool_leaves_its_answer_behind(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    async with opening(tmp_path, spool=spool) as store:
        await fund(store, 10_000_000)
        await store.ledger.reserve(reserve(1, idempotency_key="same"))
        blocker = sqlite3.connect(tmp_path / "faregate.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        await store.ledger.settle(settle(1, answer=ANSWER))
        assert message(1).encode() in spool.read_bytes()
        assert len(spool.read_bytes()) < 1_000, "money, and nothing that was said"
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.ledger.recover()

        assert await funds(store) == (9_850_000, 0)
        with pytest.raises(Repeated):
            await store.ledger.reserve(reserve(2, idempotency_key="same"))
        assert await store.records.answer(WALLET, message(1), NOW) is None


def test_a_call_whose_answer_is_not_kept_costs_no_statement_more(tmp_path: Path) -> None:
    raw, ran = SqliteRaw(tmp_path / "raw.db"), list[str]()
    raw.do("INSERT INTO price VALUES ('small@2025', 'small', 1, 1, 1, 1, 1, 1)")
    raw.connection.set_trace_callback(ran.append)
    for number, kept_answer in ((1, None), (2, ANSWER)):
        raw.connection.execute("BEGIN")
        reserve_now(raw.connection, reserve(number, input_ceiling=Nanos(1), max_tokens=0, min_tokens=0), ("main", 1))
        settle_now(raw.connection, settle(number, charged=Nanos(1), answer=kept_answer), limited=False)
        raw.connection.execute("COMMIT")
        assert len([text for text in ran if " answer" in text]) == (1 if kept_answer else 0)
    raw.close()


def test_an_answer_belongs_to_a_charge_and_has_an_end(raw: Raw) -> None:
    raw.reserve("a")
    raw.settle("a", 100)

    raw.refuses(row("b", 1), because="FOREIGN KEY")
    raw.refuses(row("a", 0), because="CHECK constraint failed")
    raw.do(row("a", 1))
    raw.refuses(row("a", 2), because="UNIQUE|PRIMARY KEY")


def row(charge: str, until: int) -> str:
    return f"INSERT INTO answer VALUES ('{WALLET}', '{charge}', {until}, '[]', x'00')"
