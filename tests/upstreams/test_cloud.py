"""What both clouds' adapters share keeps its bounds and its health, and hides where the cloud is.

Method: the functions themselves, and a link to a scripted server on loopback; the adapters' own tests go the whole way.
"""

import json

import pytest

from faregate.core.errors import BodyTooLarge, InvalidRequest
from faregate.upstreams.cloud import BODY_BYTES_MAX, Link, betas, refusal
from faregate.upstreams.port import Fault, Whole
from faregate.upstreams.transport import Transport
from tests.upstreams.asking import whole


def link(base_url: str = "https://cloud.example/prefix/", **more: float) -> Link:
    return Link(name="cloud", base_url=base_url, transport=Transport(), **more)


@pytest.mark.parametrize(
    ("beta", "named"),
    [(None, []), ("", []), ("a", ["a"]), (" a,b , c", ["a", "b", "c"]), ("a,,no,b", ["a", "b"]), ("no", [])],
)
def test_betas_are_a_list_without_those_that_are_withheld(beta: str | None, named: list[str]) -> None:
    assert betas(beta, {"no"}) == named


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (403, "permission_error"), (422, "invalid_request_error"),
     (429, "rate_limit_error"), (500, "api_error"), (503, "api_error"), (504, "timeout_error"),
     (529, "overloaded_error")],
)  # fmt: skip
async def test_a_refusal_is_in_anthropics_envelope_with_the_wait_alone(status: int, kind: str) -> None:
    answer = refusal(status, "why", {"retry-after": "3", "x-amzn-requestid": "1", "content-type": "text/html"})
    assert answer.status == status
    assert answer.headers == {"content-type": "application/json", "retry-after": "3"}
    assert json.loads(await whole(answer)) == {"type": "error", "error": {"type": kind, "message": "why"}}


async def test_what_is_already_here_is_read_once_and_can_be_dropped() -> None:
    pieces: list[bytes] = []

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return True

    assert await Whole(200, {}, b"all").pour(take)
    assert pieces == [b"all"]
    dropped = Whole(200, {}, b"all")
    dropped.cancel()
    assert await dropped.read() == b""


class Long(Whole):
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_short_answer_has_a_bound() -> None:
    assert await link().whole(Whole(200, {}, b"x" * BODY_BYTES_MAX)) == b"x" * BODY_BYTES_MAX
    long = Long(200, {}, b"x" * (BODY_BYTES_MAX + 1))
    with pytest.raises(Fault, match="more than"):
        await link().whole(long)
    assert long.cancelled


def test_a_refusal_to_count_is_the_callers_or_a_fault() -> None:
    refused = [link().not_counted(status, "") for status in (400, 413, 403, 500)]
    assert [type(error) for error in refused] == [InvalidRequest, BodyTooLarge, Fault, Fault]


def test_secrets_and_the_address_are_redacted_and_an_empty_secret_is_none() -> None:
    text = link().redact("at cloud.example:443, cloud.example with hunter2", "hunter2", "")
    assert text == "at [redacted], [redacted] with [redacted]"
