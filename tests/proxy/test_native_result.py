"""A result ends its request as the meter reads it: half of its price, or free.

Method: a request claimed from a real ledger, and results in words of their own.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from faregate.core.batch import RequestState
from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.ledger import Basis, Loss, Outcome, Release, Settle
from faregate.core.money import Nanos
from faregate.proxy.native_result import again, end_of, error_of, record
from faregate.proxy.port import Gateway
from faregate.wire.batch_result import BatchResult
from tests.contract.batches import COST, GOOD, left, made

Claimed = tuple[Gateway, Ticket]


@pytest_asyncio.fixture
async def claimed(folder: Path) -> AsyncIterator[Claimed]:
    async with left(folder) as gate:
        await made(gate, await gate.key(), "a", model="claude-haiku-4-5")
        batches = gate.running.store.batches
        ((wallet_id, batch_id),) = await batches.waiting(gate.running.gate.now_ms())
        ticket = await batches.claim(wallet_id, batch_id, gate.running.gate.now_ms())
        assert ticket is not None
        yield gate.running.gate, ticket


def result(kind: str, message: object = None, **error: str) -> BatchResult:
    return BatchResult(custom_id="c", type=kind, message=msgspec.json.encode(message), **error)


def ended(claimed: Claimed, told: BatchResult, **wasted: int) -> End | Again:
    gate, ticket = claimed
    ticket = msgspec.structs.replace(ticket, **{name: Nanos(amount) for name, amount in wasted.items()})
    return end_of(gate, ticket, told, None, upstream="up", error=error_of(told, lambda text: text))


async def test_a_message_is_billed_at_half_and_is_ours_though_the_call_cannot_be_judged_any_more(
    claimed: Claimed,
) -> None:
    command = ended(claimed, result("succeeded", GOOD))

    assert isinstance(command, End) and isinstance(command.charge, Settle)
    assert (command.charge.charged, command.charge.shortfall, command.charge.basis) == (COST, 0, Basis.UPSTREAM)
    body = msgspec.json.decode(command.result or b"")
    assert (body["id"], body["model"]) == (claimed[1].charge_id, "claude-haiku-4-5")
    assert body["usage"]["service_tier"] == "batch"
    assert record(command, model=None, upstream="up", error=None).charged == COST


@pytest.mark.parametrize("nonsense", [None, [], {"type": "nonsense"}])
async def test_a_message_that_nobody_can_read_is_a_loss_and_run_again(claimed: Claimed, nonsense: object) -> None:
    command = ended(claimed, result("succeeded", nonsense))

    assert isinstance(command, Again)
    assert (command.tries, command.wasted) == (1, claimed[1].estimated)


@pytest.mark.parametrize(
    ("kind", "state", "outcome"),
    [
        ("canceled", RequestState.CANCELED, Outcome.CLIENT_GONE),
        ("expired", RequestState.EXPIRED, Outcome.GATEWAY_ERROR),
        ("errored", RequestState.ERRORED, Outcome.UPSTREAM_ERROR),
    ],
)
async def test_what_did_not_succeed_is_released(
    claimed: Claimed, kind: str, state: RequestState, outcome: Outcome
) -> None:
    command = ended(claimed, result(kind, error_type="invalid_request_error", error_message="no"), wasted=7)

    assert isinstance(command, End) and isinstance(command.charge, Release)
    assert (command.state, command.charge.outcome) == (state, outcome)
    assert (command.charge.loss, command.charge.loss_amount) == (Loss.ERROR, 7)
    assert (command.result is not None) == (kind == "errored")


async def test_an_error_is_told_in_the_words_of_a_calls(claimed: Claimed) -> None:
    error = error_of(result("errored", error_type="invalid_request_error", error_message="SECRET: no"),
                     lambda text: text.replace("SECRET", "[redacted]"))  # fmt: skip
    ours = error_of(result("errored", error_type="authentication_error", error_message="SECRET"), str)

    assert error is not None and (error.status, error.message) == (400, "[redacted]: no")
    assert ours is not None and ours.status == 502 and "SECRET" not in ours.message
    assert error_of(result("errored"), str) is not None and error_of(result("expired"), str) is None


async def test_what_goes_back_counts_as_tried_and_says_what_it_cost(claimed: Claimed) -> None:
    ticket = claimed[1]

    assert again(ticket, at_ms=5, cost=False).wasted == ticket.wasted
    assert again(ticket, at_ms=5, cost=True).wasted == ticket.wasted + ticket.estimated
    assert again(ticket, at_ms=5, cost=True).tries == ticket.tries + 1
