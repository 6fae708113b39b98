"""A log line says what a call was and what it cost, in one line, and a level that is off costs nothing.

Method: write to a string, and read it back.
"""

import io
import json
import logging
from collections.abc import Iterator

import msgspec
import pytest
import structlog

from faregate.core.ledger import Outcome
from faregate.core.money import Nanos
from faregate.logs import human_line, set_up_logging
from faregate.proxy.record import CallRecord
from faregate.wire.usage import Usage

GOOD = CallRecord(
    request_id="req_1",
    charge_id="msg_1",
    model="claude-x",
    status=200,
    outcome=Outcome.OK,
    usage=Usage(input=12, output=34),
    charged=Nanos(46_000),
    held=Nanos(100_000),
    first_event_ms=12.2,
    total_ms=80.4,
)
REFUSED = CallRecord(request_id="req_2", status=402, error_code="insufficient_credits", total_ms=0.3)
BROKEN = CallRecord(
    request_id="req_3", charge_id="msg_3", model="claude-x", status=502, error_code="upstream_error", total_ms=5.0
)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_person_reads_one_compact_line() -> None:
    out = io.StringIO()
    set_up_logging("human", "info", out).request(GOOD)

    assert out.getvalue() == "200 claude-x  in 12 out 34  46 credits  first 12 ms  total 80 ms  msg_1\n"


def test_a_refusal_says_its_code_and_no_credits() -> None:
    assert human_line(REFUSED) == "402 -  insufficient_credits  total 0 ms  req_2"


def test_an_outcome_that_says_the_same_as_the_code_is_said_once() -> None:
    def line(outcome: Outcome) -> str:
        return human_line(msgspec.structs.replace(BROKEN, outcome=outcome))

    assert line(Outcome.UPSTREAM_ERROR) == "502 claude-x  upstream_error  total 5 ms  msg_3"
    assert line(Outcome.CLIENT_GONE) == "502 claude-x  upstream_error  client_gone  total 5 ms  msg_3"


def test_cached_tokens_and_a_hang_up_are_told() -> None:
    record = CallRecord(
        request_id="req_1",
        charge_id="msg_1",
        model="claude-x",
        status=200,
        outcome=Outcome.CLIENT_GONE,
        usage=Usage(input=2, output=1, cache_read=10),
        charged=Nanos(1_500),
        held=Nanos(9_000),
        total_ms=3.0,
    )

    assert human_line(record) == "200 claude-x  in 12 (cached 10) out 1  1.5 credits  client_gone  total 3 ms  msg_1"


def test_a_machine_reads_json_with_amounts_as_credit_strings() -> None:
    out = io.StringIO()
    set_up_logging("json", "info", out).request(GOOD)

    line = json.loads(out.getvalue())
    assert line["event"] == "request"
    assert (line["status"], line["model"], line["charge_id"]) == (200, "claude-x", "msg_1")
    assert (line["charged"], line["held"]) == ("46", "100")
    assert line["usage"]["output"] == 34


def test_what_a_batch_was_billed_is_told_though_it_was_held_for_long_before() -> None:
    record = msgspec.structs.replace(GOOD, held=Nanos(0))
    out = io.StringIO()
    set_up_logging("json", "info", out).request(record)

    assert "46 credits" in human_line(record)
    line = json.loads(out.getvalue())
    assert line["charged"] == "46" and line["usage"]["output"] == 34 and "held" not in line


def test_what_is_not_a_terminal_gets_json_without_being_told() -> None:
    out = io.StringIO()
    set_up_logging("auto", "info", out).request(REFUSED)

    assert json.loads(out.getvalue())["error_code"] == "insufficient_credits"


def test_errors_are_logged_as_errors() -> None:
    out = io.StringIO()
    set_up_logging("json", "error", out).request(BROKEN)

    assert json.loads(out.getvalue())["level"] == "error"


def test_a_level_that_is_off_formats_nothing() -> None:
    unwritable = msgspec.structs.replace(GOOD, dropped=(object(),))
    out = io.StringIO()

    set_up_logging("json", "warning", out).request(unwritable)
    assert out.getvalue() == ""
    with pytest.raises(TypeError):
        set_up_logging("json", "info", out).request(unwritable)


def test_events_of_our_own_come_out_in_both_forms() -> None:
    person, machine = io.StringIO(), io.StringIO()
    set_up_logging("human", "info", person)
    structlog.get_logger().warning("upstream is away", upstream="main")
    set_up_logging("json", "info", machine)
    structlog.get_logger().warning("upstream is away", upstream="main")

    assert person.getvalue() == "warning: upstream is away upstream=main\n"
    line = json.loads(machine.getvalue())
    assert (line["event"], line["level"], line["upstream"]) == ("upstream is away", "warning", "main")


def test_a_crash_is_logged_with_its_trace_in_both_forms() -> None:
    for form in ("human", "json"):
        out = io.StringIO()
        set_up_logging(form, "info", out)
        try:
            raise ValueError("boom")
        except ValueError:
            structlog.get_logger().exception("a call crashed")
        assert "ValueError: boom" in out.getvalue()


def test_a_library_that_warns_is_heard_in_the_same_form_and_its_chatter_is_not() -> None:
    out = io.StringIO()
    set_up_logging("json", "info", out)
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble with %s", "a socket")

    assert json.loads(out.getvalue())["event"] == "trouble with a socket"
