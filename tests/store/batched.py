"""Batches for the store's tests: made in its own words, claimed, and ended as the worker would."""

from typing import Any

from faregate.core.batch import RequestState
from faregate.core.batch_commands import End, NewBatch, NewRequest, Ticket
from faregate.core.ledger import Basis, Outcome, Release, Settle
from faregate.core.money import Nanos
from faregate.store.store import Store
from faregate.wire.usage import Usage
from tests.store.books import KEY, NOW, PRICE, WALLET

BATCH = "msgbatch_" + "0" * 26
HELD = 300_000
"""Of each request."""
USAGE = Usage(input=50, output=20)


def new(total: int, **fields: Any) -> NewBatch:
    plain: dict[str, Any] = {
        "id": BATCH,
        "wallet_id": WALLET,
        "key_id": KEY,
        "request_id": "req_b",
        "version": "2023-06-01",
        "beta": None,
        "total": total,
        "waiting_max": 100_000,
        "waiting_bytes_max": 1 << 30,
        "ceiling": Nanos(total * HELD),
        "abandon_budget": None,
        "at_ms": NOW,
        "expires_at_ms": NOW + 1_000,
    }
    return NewBatch(**(plain | fields))


def request(number: int, batch: str = BATCH, params: bytes = b"{}") -> NewRequest:
    return NewRequest(
        number=number,
        custom_id=f"r{number}",
        charge_id=f"msg_B{batch[-4:]}{number:021d}",
        model=PRICE.model,
        price_id=PRICE.id,
        params=params,
        body_sha256=b"b" * 32,
        held=Nanos(HELD),
        estimated=Nanos(100_000),
    )


async def make(store: Store, total: int, **fields: Any) -> NewBatch:
    batch = new(total, **fields)
    await store.batches.make(batch, [request(number, batch.id) for number in range(total)])
    return batch


async def claimed(store: Store, at_ms: int = NOW, batch: str = BATCH) -> Ticket:
    ticket = await store.batches.claim(WALLET, batch, at_ms)
    assert ticket is not None
    return ticket


def succeeded(ticket: Ticket, **fields: Any) -> End:
    plain: dict[str, Any] = {
        "charge_id": ticket.charge_id,
        "wallet_id": WALLET,
        "key_id": KEY,
        "outcome": Outcome.OK,
        "usage": USAGE,
        "basis": Basis.UPSTREAM,
        "charged": Nanos(75_000),
        "shortfall": Nanos(0),
        "upstream": "fake",
        "attempts": 1,
        "at_ms": NOW + 500,
    }
    return End(ticket=ticket, charge=Settle(**(plain | fields)), state=RequestState.SUCCEEDED, result=b'{"id":"m"}')


def errored(ticket: Ticket) -> End:
    charge = Release(
        charge_id=ticket.charge_id, wallet_id=WALLET, key_id=KEY, outcome=Outcome.UPSTREAM_ERROR, at_ms=NOW + 500
    )
    return End(ticket=ticket, charge=charge, state=RequestState.ERRORED, result=b"{}")
