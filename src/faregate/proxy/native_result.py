"""What an upstream's batch says of one request, as the end of ours: charge, result and state.

The rule: what is billed is read by the same meter as a call's answer, and pays half of the price that it was held by.
"""

from collections.abc import Callable

from faregate.core import batch as rules
from faregate.core.batch import RequestState, halved
from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.errors import GatewayError
from faregate.core.ledger import Outcome, Release, Settle, split
from faregate.core.meter import Meter
from faregate.core.money import ZERO, Nanos
from faregate.core.stream import StreamFault
from faregate.proxy import entry
from faregate.proxy.fare import Fare
from faregate.proxy.port import Gateway
from faregate.proxy.record import Attempt, CallRecord
from faregate.proxy.verdict import of_event
from faregate.wire.answer import read_plain
from faregate.wire.batch_result import BatchResult

Redact = Callable[[str], str]


def end_of(
    gate: Gateway,
    ticket: Ticket,
    result: BatchResult,
    fare: Fare | None,
    *,
    upstream: str,
    error: GatewayError | None,
) -> End | Again:
    """The end of a request. `fare` is its call, where it can still be judged; `error` is why it errored. What upstream
    made and nobody can read is a loss, and run again."""
    if error is not None:
        text = rules.errored(error, ticket.request_id)
        return _released(gate, ticket, RequestState.ERRORED, Outcome.UPSTREAM_ERROR, text)
    match result.type:
        case "succeeded":
            return _succeeded(gate, ticket, result, fare, upstream)
        case "canceled":
            return _released(gate, ticket, RequestState.CANCELED, Outcome.CLIENT_GONE, None)
        case _:
            return _released(gate, ticket, RequestState.EXPIRED, Outcome.GATEWAY_ERROR, None)


def error_of(result: BatchResult, redact: Redact) -> GatewayError | None:
    """Why a request errored, as its caller may know it; None where it did not."""
    if result.type != "errored":
        return None
    return of_event(StreamFault(result.error_type or "api_error", result.error_message), redact).error


def _succeeded(gate: Gateway, ticket: Ticket, result: BatchResult, fare: Fare | None, upstream: str) -> End | Again:
    asked = fare.asked_model if fare is not None else entry.read(ticket.params)["model"]
    plain = read_plain(result.message, message_id=ticket.charge_id, model=asked)
    if plain is None:
        return again(ticket, at_ms=gate.now_ms(), cost=True)
    meter = fare.meter() if fare is not None else Meter()
    meter.start(None)
    meter.delivered(plain.content_bytes)
    meter.delta(plain.usage)
    meter.stop()
    reading = meter.close()
    if fare is not None:
        fare.learn(gate, reading, finished=True)
    price = halved(next(version for version in gate.prices.versions() if version.id == ticket.price_id))
    charged, shortfall = split(price.cost(reading.usage), ticket.held)
    charge = Settle(
        charge_id=ticket.charge_id,
        wallet_id=ticket.wallet_id,
        key_id=ticket.key_id,
        outcome=Outcome.OK,
        usage=reading.usage,
        basis=reading.basis,
        charged=charged,
        shortfall=shortfall,
        loss=ticket.loss(ticket.wasted),
        loss_amount=ticket.wasted,
        upstream=upstream,
        attempts=ticket.tries + 1,
        at_ms=gate.now_ms(),
    )
    return End(ticket=ticket, charge=charge, state=RequestState.SUCCEEDED, result=rules.succeeded(plain.body))


def _released(gate: Gateway, ticket: Ticket, state: RequestState, outcome: Outcome, text: bytes | None) -> End:
    charge = Release(
        charge_id=ticket.charge_id,
        wallet_id=ticket.wallet_id,
        key_id=ticket.key_id,
        outcome=outcome,
        loss=ticket.loss(ticket.wasted),
        loss_amount=ticket.wasted,
        attempts=ticket.tries + 1,
        at_ms=gate.now_ms(),
    )
    return End(ticket=ticket, charge=charge, state=state, result=text)


def again(ticket: Ticket, *, at_ms: int, cost: bool) -> Again:
    """To our own queue; `cost` is what upstream has made of it."""
    wasted = Nanos(ticket.wasted + (ticket.estimated if cost else 0))
    return Again(ticket=ticket, again_at_ms=at_ms, tries=ticket.tries + 1, crashes=ticket.crashes, wasted=wasted)


def record(command: End, *, model: str | None, upstream: str, error: GatewayError | None) -> CallRecord:
    """What telemetry is told of it. Nobody waited, so it took no time."""
    charge, ticket = command.charge, command.ticket
    status = 200 if error is None else error.status
    return CallRecord(
        request_id=ticket.request_id,
        charge_id=ticket.charge_id,
        key_id=ticket.key_id,
        wallet_id=ticket.wallet_id,
        model=model,
        status=status,
        error_code=None if error is None else error.code,
        outcome=charge.outcome,
        usage=charge.usage,
        charged=charge.charged if isinstance(charge, Settle) else ZERO,
        upstream=charge.upstream,
        attempts=(Attempt(upstream, status),),
        total_ms=0.0,
    )
