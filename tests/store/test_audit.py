"""The audit finds each way in which books can be wrong, and nothing in books that are right.

Method: right books of every kind of movement; then, with the guards taken out by force, one lie for each rule. A rule
that no lie sets off would be no rule.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.core.ledger import Loss
from faregate.core.money import NANOS_MAX, Nanos
from faregate.store import audit
from faregate.store.port import Finding
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.store.batched import claimed, make, succeeded
from tests.store.books import KEY, WALLET, fund, message, opening, place, release, reserve, settle
from tests.store.raw import raw_on

FIRST, OPEN = message(1), message(4)

LIES = {
    "posted": f"UPDATE account SET posted = posted + 1 WHERE id = '{WALLET}'",
    "sum": f"UPDATE account SET posted = posted + 1 WHERE id = '{WALLET}'",
    "transfer_accounts": "UPDATE transfer SET credit_id = 'nobody' WHERE kind = 'topup'",
    "held": f"UPDATE account SET held = held + 1 WHERE id = '{WALLET}'",
    "floor": f"UPDATE account SET floor = 999999999 WHERE id = '{WALLET}'",
    "open_hold": f"UPDATE hold SET closed = NULL WHERE charge_id = '{FIRST}'",
    "charge_hold": f"UPDATE charge SET held = held + 1 WHERE id = '{OPEN}'",
    "capture": f"UPDATE hold SET amount = 1 WHERE charge_id = '{FIRST}'",
    "settle": f"UPDATE charge SET charged = charged - 1 WHERE id = '{FIRST}'",
    "limit": f"DELETE FROM transfer WHERE kind = 'limit' AND charge_id = '{FIRST}'",
    "transfer_charge": f"UPDATE charge SET state = 'released' WHERE id = '{FIRST}'",
    "price": f"UPDATE charge SET output = output + 1 WHERE id = '{FIRST}'",
    "error_billed": f"UPDATE charge SET outcome = 'upstream_error' WHERE id = '{FIRST}'",
    "batch_request": "UPDATE batch_request SET state = 'errored' WHERE custom_id = 'r0'",
    "batch_charge": "DELETE FROM batch_request WHERE custom_id = 'r1'",
    "native_batch": "UPDATE batch_request SET state = 'running', node = 'n', incarnation = 0 WHERE custom_id = 'r1'",
    "batch_counts": "UPDATE batch SET succeeded = succeeded + 1",
}

Lie = Callable[[str], None]


@pytest.fixture
async def books(folder: Path) -> Path:
    """Settled, short, lost, released, and one still open."""
    async with opening(folder) as store:
        await fund(store, 10_000_000, quota=Nanos(9_000_000), spend_1d=Nanos(8_000_000))
        for number in range(1, 5):
            await store.ledger.reserve(reserve(number))
        await store.ledger.settle(settle(1, loss=Loss.ABANDON, loss_amount=Nanos(5)))
        await store.ledger.settle(settle(2, usage=Usage(output=121), charged=Nanos(600_000), shortfall=Nanos(5_000)))
        await store.ledger.release(release(3, loss=Loss.ERROR, loss_amount=Nanos(7)))
        await make(store, 2)
        assert await store.batches.end(succeeded(await claimed(store)))
    return folder


def lie(folder: Path, *statements: str) -> None:
    raw = raw_on(place(folder))
    raw.force(*statements)
    raw.close()


def audited(folder: Path) -> list[Finding]:
    raw = raw_on(place(folder))
    found = audit.run(raw.connection)
    raw.close()
    return found


async def test_right_books_are_clean_and_every_rule_says_what_it_means(books: Path) -> None:
    findings = audited(books)

    assert [finding.rule for finding in findings] == [rule.name for rule in audit.RULES]
    assert all(finding.count == 0 and finding.examples == [] and finding.meaning for finding in findings)
    assert set(LIES) == {rule.name for rule in audit.RULES}


@pytest.mark.parametrize("rule", LIES)
async def test_each_rule_finds_the_lie_it_is_for(books: Path, rule: str) -> None:
    lie(books, LIES[rule])
    found = {finding.rule: finding for finding in audited(books) if finding.count}

    assert rule in found
    assert found[rule].examples


async def test_a_batch_that_paid_as_a_call_does_is_found(books: Path) -> None:
    lie(books, "UPDATE charge SET tier = 'standard' WHERE tier = 'batch' AND state = 'settled'")

    assert {finding.rule for finding in audited(books) if finding.count} == {"price", "batch_request"}


async def test_a_charge_that_paid_its_wallet_but_not_its_ledger_is_found_by_name(books: Path) -> None:
    lie(books, f"DELETE FROM transfer WHERE idem = 'settle:{FIRST}'")
    found = {finding.rule: finding.examples for finding in audited(books) if finding.count}

    assert found["settle"] == [FIRST]
    assert found["posted"] == [WALLET]


async def test_examples_are_few_and_the_count_is_whole(books: Path) -> None:
    for number in range(9):
        lie(books, f"INSERT INTO account(wallet_id, id, kind, name, floor, posted, created_at) "
                   f"VALUES ('w{number}', 'w{number}', 'wallet', 'w{number}', 0, 5, 0)")  # fmt: skip
    found = {finding.rule: finding for finding in audited(books)}

    assert found["posted"].count == 9
    assert len(found["posted"].examples) == audit.EXAMPLES_MAX


async def test_the_office_audits_while_charges_are_open(store: Store) -> None:
    await fund(store, 10_000_000)
    await store.ledger.reserve(reserve(1))

    assert sum(finding.count for finding in await store.office.audit()) == 0
    assert (await store.office.key_find(KEY)).id == KEY


async def test_books_are_added_up_beyond_what_an_integer_holds(store: Store) -> None:
    wallets = 2 * 2**63 // NANOS_MAX
    for number in range(wallets):
        name = f"wal_{number:026d}"
        await store.office.wallet_create(wallet_id=name, name=name, floor=Nanos(0), at_ms=0)
        await store.office.topup(name, Nanos(NANOS_MAX - 1), note=None, reference=name, at_ms=0)

    assert sum(finding.count for finding in await store.office.audit()) == 0
    assert (await store.office.operator_accounts())["world"] == -wallets * (NANOS_MAX - 1)
