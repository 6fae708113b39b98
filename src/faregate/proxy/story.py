"""The story of a call: tap in, ride, tap out. `serve` is the life of one request to /v1/messages, top to bottom.

    authenticate -> decode -> find the model -> admit and quote -> rates and hold -> send -> relay and meter -> settle

What is refused is refused before the hold. After it the only way out is through `settle` or `release`, and both are
carried out by the ledger once they are called, whatever then becomes of this task. Streamed and plain answers take one
road: a plain answer is a stream of one piece.
"""

import asyncio

from faregate.core.errors import GatewayError, Internal, NotReady, Repeated
from faregate.core.ledger import Loss, Outcome
from faregate.core.meter import Progress
from faregate.core.money import ZERO
from faregate.proxy import entry
from faregate.proxy.attempts import Attempts, Reply
from faregate.proxy.fare import Fare, appraise, within_credit_limit
from faregate.proxy.hold import UNUSED, Hold, take
from faregate.proxy.port import Caller, Gateway
from faregate.proxy.relay import completed, relay
from faregate.proxy.replay import charged_header, give_again, kept
from faregate.proxy.rest import Rest, rest_of
from faregate.proxy.ride import CLIENT_CLOSED, Ride
from faregate.proxy.verdict import CallerGone, of_stream


async def serve(gate: Gateway, caller: Caller) -> None:
    """Serve one call to its end, whatever that is. Raises nothing but cancellation; every call is observed once."""
    ride = Ride(caller=caller)
    try:
        await _serve(gate, caller, ride)
    except GatewayError as error:
        if isinstance(error, Internal):  # The caller is told nothing of the cause, so the operator is.
            gate.observer.trouble(caller.request_id, error.message, error.__cause__)
        ride.refused(error)
        await caller.refuse(error)
        _let_go(error)
    except CallerGone as gone:
        ride.status = CLIENT_CLOSED
        _let_go(gone)
    except Exception as error:  # A fault of ours: the caller gets one clean 500, the operator the traceback.
        gate.observer.trouble(caller.request_id, "a request failed by a fault of the gateway", error)
        internal = Internal("Something went wrong in the gateway. You were not billed for this call.")
        ride.refused(internal)
        await caller.refuse(internal)
        _let_go(error)
    finally:
        gate.observer.finished(ride.record())


def _let_go(error: BaseException | None) -> None:
    """Drop where it came from: those frames hold the call, the futures and errors in them hold those frames, and a body
    that is in such a cycle waits for the collector. In a chain that comes back to itself that has been done by then."""
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


async def _serve(gate: Gateway, caller: Caller, ride: Ride) -> None:
    key = await entry.authenticate(gate, caller)
    ride.key_id, ride.wallet_id = key.id, key.wallet_id

    document = entry.read(await caller.body())
    await gate.prices.current()
    model = entry.find_model(gate, key, document)
    ride.model = model.id

    fare = appraise(gate, key, document, model, caller)
    ride.stream, ride.dropped = fare.admitted.stream, fare.admitted.dropped
    await within_credit_limit(gate, fare, caller)
    command = fare.reservation(gate, caller)

    try:
        ride.hold = await take(gate, command, fare.quote.price)
    except Repeated as repeated:
        answer = await kept(gate, key, repeated)
        if answer is None:
            raise
        await give_again(gate, caller, key, answer, stream=ride.stream)
        ride.replayed = repeated.charge_id
        return
    await _ride(gate, caller, ride, ride.hold, fare)


async def _ride(gate: Gateway, caller: Caller, ride: Ride, held: Hold, fare: Fare) -> None:
    """From the hold to the settled charge; who leaves here without having settled pays nothing."""
    time = asyncio.get_running_loop().time
    ride.quote, ride.estimated = fare.quote, fare.quote.fit(held.max_tokens)[1]
    attempts = ride.attempts = Attempts(gate, fare, held)
    caller.on_gone(attempts.cancel)
    outcome, loss, reply, rest = Outcome.SHUTDOWN, Loss.ERROR, None, None
    try:
        began = time()
        reply = await attempts.reach()
        ride.reached, ride.upstream = (began, time()), reply.upstream.name
        headers = fare.headers(gate, held, reply.upstream)
        copy = held.copy(headers, stream=reply.stream is not None)

        if reply.stream is not None:
            caller.on_gone(reply.answer.cancel)
            await caller.start(headers)
            held.streaming()
            ride.first_event = time()
            await relay(caller, reply, copy)
            if reply.stream.fault is not None:
                raise of_stream(reply.stream.fault, reply.upstream.redact)

        finished = reply.meter.progress is Progress.COMPLETE
        rest = None if finished else rest_of(gate, fare, held, attempts)
        await held.settle(
            Outcome.OK if finished else Outcome.CLIENT_GONE,
            reply.meter.close(),
            upstream=reply.upstream.name,
            attempts=len(attempts.made),
            lost=attempts.lost if rest is None else (),
            copy=completed(copy, reply) if finished else None,
        )
        fare.learn(gate, held.reading, finished=finished)
        if reply.stream is None:
            await caller.answer(200, [*headers, charged_header(held.charged)], reply.body)
            ride.first_event = time()
        elif finished:
            await caller.end(reply.stream.tail)
    except CallerGone:
        outcome, loss, rest = Outcome.CLIENT_GONE, Loss.ABANDON, rest_of(gate, fare, held, attempts)
        raise
    except GatewayError as error:
        # What the ledger does not take is ours: an operator who reads "upstream_error" would look in the wrong place.
        ours = isinstance(error, Internal | NotReady) and error.code != NotReady.code
        outcome = Outcome.GATEWAY_ERROR if ours else Outcome.UPSTREAM_ERROR
        raise
    except Exception:
        outcome = Outcome.GATEWAY_ERROR
        raise
    finally:
        if held.outcome is None and outcome is not Outcome.CLIENT_GONE:
            rest = None
        if rest is None:
            attempts.stop()
        await _end(gate, ride, held, fare, reply=reply, outcome=outcome, loss=loss, rest=rest)


async def _end(
    gate: Gateway,
    ride: Ride,
    held: Hold,
    fare: Fare,
    *,
    reply: Reply | None,
    outcome: Outcome,
    loss: Loss,
    rest: Rest | None,
) -> None:
    """Release what was not settled, and read on what upstream goes on to bill."""
    try:
        if held.outcome is None:
            await _release(gate, ride, held, fare, reply=reply, outcome=outcome, loss=loss, rest=rest)
    finally:
        if rest is not None:
            gate.drains.begin(rest.read())


async def _release(
    gate: Gateway,
    ride: Ride,
    held: Hold,
    fare: Fare,
    *,
    reply: Reply | None,
    outcome: Outcome,
    loss: Loss,
    rest: Rest | None,
) -> None:
    """Bill nothing. What upstream may bill all the same is a loss, of a size that is known, or estimated, or yet to be
    read."""
    attempts = ride.attempts
    assert attempts is not None
    unseen = reply is None and attempts.sent and outcome is Outcome.CLIENT_GONE and rest is None
    try:
        await held.release(
            outcome,
            loss=loss,
            loss_amount=fare.quote.input_estimated if unseen else ZERO,
            reading=reply.meter.close() if reply is not None else UNUSED,
            upstream=ride.upstream,
            attempts=len(attempts.made),
            lost=attempts.lost if rest is None else (),
        )
    except (NotReady, Internal) as error:  # It is done as soon as the database can; the first error is the caller's.
        gate.observer.trouble(ride.caller.request_id, f"the hold of {held.charge_id} could not be released yet", error)
