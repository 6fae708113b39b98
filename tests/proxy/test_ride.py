"""A ride knows only facts: a refusal keeps the status that the caller saw, and times are of what happened.

Method: a ride is filled step by step, and its record read after each.
"""

from faregate.core.errors import PaymentRequired, UpstreamFailed
from faregate.proxy.ride import Ride
from faregate.wire.usage import NOTHING
from tests.proxy.standing import Server


async def test_a_ride_that_never_left_has_nothing_to_tell_but_its_end() -> None:
    record = Ride(caller=Server().caller).record()

    assert (record.request_id, record.status, record.usage, record.charged, record.held) == (
        "req_1",
        200,
        NOTHING,
        0,
        0,
    )
    assert (record.charge_id, record.outcome, record.first_event_ms, record.added_ms) == (None, None, None, None)
    assert record.total_ms >= 0


async def test_a_refusal_before_the_first_event_has_the_errors_status() -> None:
    ride = Ride(caller=Server().caller)
    ride.refused(PaymentRequired("no"))

    assert (ride.record().status, ride.record().error_code) == (402, "insufficient_credits")


async def test_a_refusal_after_it_keeps_the_200_that_has_gone_out() -> None:
    ride = Ride(caller=Server().caller, first_event=1.0)
    ride.refused(UpstreamFailed("no"))

    assert (ride.record().status, ride.record().error_code) == (200, "upstream_error")


async def test_what_was_added_is_the_way_to_the_first_event_less_the_wait_for_upstream() -> None:
    caller = Server().caller
    ride = Ride(
        caller=caller, reached=(caller.arrived + 0.010, caller.arrived + 0.210), first_event=caller.arrived + 0.215
    )
    record = ride.record()

    assert record.first_event_ms is not None and round(record.first_event_ms) == 215
    assert record.added_ms is not None and round(record.added_ms) == 15
