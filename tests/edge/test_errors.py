"""Every error leaves as Anthropic's envelope, with the headers that make SDKs do the right thing.

Method: render each leaf of the error tree and read the bytes back.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core import errors
from faregate.core.errors import GatewayError, InvalidRequest, PaymentRequired, RateLimited
from faregate.edge.errors import RETRY_AFTER_S_MAX, render, whole_seconds


def leaves(node: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    below = [leaf for child in node.__subclasses__() for leaf in leaves(child)]
    return below or [node]


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
def test_every_error_has_the_envelope_and_the_status_of_its_class(leaf: type[GatewayError]) -> None:
    status, headers, body = render(leaf("What went wrong."), "req_1")

    assert status == leaf.status
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": leaf.kind, "message": "What went wrong.", "details": {"error_code": leaf.code}},
        "request_id": "req_1",
    }
    named = dict(headers)
    assert named[b"content-type"] == b"application/json"
    assert named[b"content-length"] == str(len(body)).encode()
    assert named[b"request-id"] == b"req_1"
    assert b"retry-after" not in named


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
def test_a_refusal_tells_sdks_not_to_repeat_and_trouble_does_not(leaf: type[GatewayError]) -> None:
    _, headers, _ = render(leaf("No."), "req_1")

    assert ((b"x-should-retry", b"false") in headers) == issubclass(leaf, errors.Refused)


def test_a_wait_is_rounded_up_to_whole_seconds() -> None:
    _, headers, _ = render(RateLimited("Slow down.", retry_after_s=1.2), "req_1")

    assert (b"retry-after", b"2") in headers


def test_a_spend_window_says_when_and_says_do_not_retry() -> None:
    error = RateLimited("Window full.", code="spend_5h", retry_after_s=9000, should_retry=False)
    _, headers, body = render(error, "req_1")

    assert (b"retry-after", b"9000") in headers
    assert (b"x-should-retry", b"false") in headers
    assert json.loads(body)["error"]["details"]["error_code"] == "spend_5h"


def test_details_stand_beside_the_code_and_cannot_hide_it() -> None:
    error = PaymentRequired("Empty.", details={"affordable_max_tokens": 0, "error_code": "forged"})
    _, _, body = render(error, "req_1")

    assert json.loads(body)["error"]["details"] == {"affordable_max_tokens": 0, "error_code": "insufficient_credits"}


@given(st.text())
def test_any_message_survives_the_wire(message: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in message):
        return
    _, _, body = render(InvalidRequest(message), "req_1")

    assert json.loads(body)["error"]["message"] == message


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_wait_is_never_negative_never_early_and_bounded(seconds: float) -> None:
    wait = whole_seconds(seconds)

    assert 0 <= wait <= RETRY_AFTER_S_MAX
    assert wait >= min(seconds, RETRY_AFTER_S_MAX)
