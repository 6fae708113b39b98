"""What an attempt that was not good means: for the caller, in whose words, and whether it is tried again.

Method: every status and event kind, bodies that lie about themselves, and faults whose words name hosts.
"""

import pytest

from faregate.core.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from faregate.core.stream import StreamFault
from faregate.proxy.verdict import (
    ERROR_BYTES_MAX,
    MESSAGE_CHARS_MAX,
    CallerGone,
    Failed,
    broken,
    of_answer,
    of_event,
    of_fault,
    of_stream,
)
from faregate.upstreams.port import Fault, FaultKind
from tests.proxy.standing import answer

NOW_MS = 1_792_569_600_000
WORDS = b'{"type":"error","error":{"type":"x","message":"said by upstream"}}'


def redact(text: str) -> str:
    return text.replace("sk-secret", "[redacted]")


async def judged(status: int, body: bytes = WORDS, **headers: str) -> Failed:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await of_answer(answer(status, body, headers=named)[0], redact, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (400, 400, "invalid_param"),
        (404, 404, "model_not_found"),
        (413, 413, "request_too_large"),
        (422, 422, "unsupported_parameter"),
    ],
)
async def test_a_refusal_of_the_request_keeps_its_status_and_its_words_and_is_final(
    status: int, told: int, code: str
) -> None:
    failed = await judged(status)

    assert (failed.error.status, failed.error.message, failed.error.code) == (told, "said by upstream", code)
    assert (failed.again, failed.status, failed.error.should_retry) == (False, status, False)


@pytest.mark.parametrize(("status", "again"), [(204, False), (302, False), (418, False), (500, True), (599, True)])
async def test_what_time_does_not_mend_tells_sdks_not_to_ask_again(status: int, *, again: bool) -> None:
    failed = await judged(status)
    assert (failed.error.status, failed.again, failed.error.should_retry) == (502, again, again)


async def test_a_400_about_our_account_is_a_refusal_of_us() -> None:
    words = b'{"error":{"message":"Your credit balance is too low to access the API. Please go to Plans."}}'
    failed = await judged(400, words)

    assert failed.error.message == "The upstream refused this gateway's access."
    assert (failed.error.status, failed.status, failed.again) == (502, 400, False)
    assert (await judged(404, words)).error.status == 404


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refusal_of_us_says_nothing_of_upstreams_and_is_final(status: int) -> None:
    failed = await judged(status)

    assert failed.error.message == "The upstream refused this gateway's access."
    assert (failed.error.status, failed.again, failed.error.should_retry) == (502, False, False)
    assert failed.word == "unauthorized"


@pytest.mark.parametrize(
    ("status", "told", "word"),
    [(408, 504, "timeout"), (409, 502, "upstream_error"), (429, 529, "rate_limited"), (500, 502, "upstream_error"),
     (503, 502, "upstream_error"), (504, 504, "timeout"), (529, 529, "overloaded"), (599, 502, "upstream_error")],
)  # fmt: skip
async def test_upstreams_trouble_is_in_our_words_and_may_be_tried_again(status: int, told: int, word: str) -> None:
    failed = await judged(status)

    assert (failed.error.status, failed.word, failed.again) == (told, word, True)
    assert "said by upstream" not in failed.error.message


@pytest.mark.parametrize("status", [201, 204, 301, 418])
async def test_a_status_that_makes_no_sense_here_is_upstreams_failure_and_final(status: int) -> None:
    failed = await judged(status)

    assert (failed.error.status, failed.again) == (502, False)


async def test_a_prompt_that_is_too_long_keeps_its_words_and_gets_its_code() -> None:
    failed = await judged(400, b'{"error":{"message":"prompt is too long: 5 tokens > 4 maximum"}}')

    assert failed.error.code == "context_length_exceeded"
    assert failed.error.message == "prompt is too long: 5 tokens > 4 maximum"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>10.0.0.1</html>", b'{"error":"x"}', b"[1]", b'{"error":{"message":7}}', b"[" * 60_000, b'"\xff'],
)
async def test_a_body_that_is_not_the_envelope_has_no_word_for_the_caller(body: bytes) -> None:
    failed = await judged(400, body)

    assert failed.error.message == "The upstream refused this request."


async def test_a_long_message_is_cut_and_an_endless_body_is_not_read() -> None:
    long = await judged(400, b'{"error":{"message":"%b"}}' % (b"x" * 5_000))
    reply, _ = answer(400, b"x" * (ERROR_BYTES_MAX + 1), whole=False)

    assert long.error.message == "x" * MESSAGE_CHARS_MAX
    assert (await of_answer(reply, redact, now_ms=NOW_MS)).error.message == "The upstream refused this request."


async def test_what_upstream_asks_to_wait_is_kept() -> None:
    assert (await judged(429, retry_after="7")).asked_ms == 7_000
    assert (await judged(429, retry_after_ms="120")).asked_ms == 120
    assert (await judged(429)).asked_ms is None


@pytest.mark.parametrize("kind", [kind for kind in FaultKind if kind is not FaultKind.CANCELLED])
def test_a_fault_may_be_tried_again_and_its_own_words_stay_here(kind: FaultKind) -> None:
    failed = of_fault(Fault(kind, "10.0.0.1:443 did something"))

    assert isinstance(failed, Failed)
    assert (failed.again, failed.status, failed.word) == (True, None, kind.value)
    assert "10.0.0.1" not in failed.error.message + str(failed)
    assert isinstance(failed.error, UpstreamTimeout if kind is FaultKind.TIMEOUT else UpstreamFailed)


def test_what_we_cancelled_ourselves_means_that_the_caller_has_gone() -> None:
    assert isinstance(of_fault(Fault(FaultKind.CANCELLED, "cancelled")), CallerGone)


@pytest.mark.parametrize(
    ("kind", "status", "again"),
    [
        ("overloaded_error", 529, True),
        ("rate_limit_error", 529, True),
        ("timeout_error", 504, True),
        ("api_error", 502, True),
        ("brand_new_error", 502, True),
        ("invalid_request_error", 400, False),
        ("request_too_large", 413, False),
        ("authentication_error", 502, False),
        ("permission_error", 502, False),
    ],
)
def test_an_error_event_means_what_its_status_would(kind: str, status: int, again: bool) -> None:  # noqa: FBT001
    failed = of_event(StreamFault(kind, "said by upstream"), redact)

    assert (failed.error.status, failed.again) == (status, again)
    assert ("said by upstream" in failed.error.message) is (status in (400, 413))
    assert same(of_stream(StreamFault(kind, "said by upstream"), redact), failed.error)


def same(one: GatewayError, other: GatewayError) -> bool:
    return (type(one), one.message, one.code) == (type(other), other.message, other.code)


def test_bytes_that_make_no_sense_are_upstreams_failure_and_their_detail_is_not_told() -> None:
    failed = of_event(StreamFault("", "an event of the stream is not JSON"), redact)

    assert (failed.error.status, failed.word, failed.status, failed.again) == (502, "bad_stream", 200, True)
    assert broken("not_a_message", "It is not a message.").error.message == "It is not a message."


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_is_relayed_is_without_our_key(status: int) -> None:
    told = await judged(status, b'{"error":{"message":"prompt of sk-secret: no"}}')
    event = of_event(StreamFault("invalid_request_error", "prompt of sk-secret: no"), redact)

    assert told.error.message == event.error.message == "prompt of [redacted]: no"
