"""A call record holds figures and names, and has no room for what was said.

Method: look at the declared fields, and write one record down.
"""

import msgspec

from faregate.core.ledger import Outcome
from faregate.proxy.record import Attempt, CallRecord


def test_a_record_has_no_field_for_a_prompt_an_answer_or_a_key() -> None:
    fields = set(CallRecord.__struct_fields__)

    assert not fields & {"body", "prompt", "messages", "content", "answer", "key", "headers", "system", "error"}


def test_a_refused_call_needs_only_what_is_known_of_it() -> None:
    record = CallRecord(request_id="req_1", status=401, error_code="invalid_api_key", total_ms=0.2)

    assert (record.charge_id, record.outcome, record.charged, record.attempts) == (None, None, 0, ())


def test_a_record_is_plain_data_that_serialises() -> None:
    attempt = Attempt("anthropic", status=529, error="overloaded", wait_ms=120)
    record = CallRecord(request_id="req_1", status=200, outcome=Outcome.OK, total_ms=80.5, attempts=(attempt,))

    assert msgspec.json.decode(msgspec.json.encode(record), type=CallRecord) == record
