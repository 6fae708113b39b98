"""The API's own part: paging of models, filters of usage, and what is not there. The rest is in tests/contract.

Method: a running gateway over HTTP.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest
from faregate.edge.api import PAGE, PAGE_MAX, _limit, _time
from tests.contract.answers import refused
from tests.gateway import Gate, running

AT_THE_GATE = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@given(st.text() | st.text("0123456789", max_size=8))
@example("0" * 5_000)
def test_any_text_is_a_limit_or_a_sentence(text: str) -> None:
    try:
        limit = _limit(text)
    except InvalidRequest as error:
        assert error.message == f"limit: Input should be a whole number from 1 to {PAGE_MAX}"
    else:
        assert 1 <= limit <= PAGE_MAX and int(text) == limit


@given(st.text())
def test_any_text_is_a_time_or_a_sentence(text: str) -> None:
    try:
        _time("since", text)
    except InvalidRequest as error:
        assert error.message.startswith("since: Input should be an RFC 3339 time with its zone")


@pytest.mark.parametrize(
    "text", ["2026-11-01T00:00:00Z", "2026-11-01T01:00:00+01:00", "2026-11-01T01:00:00 01:00", "2026-11-01T00:00Z"]
)
def test_a_time_means_the_same_in_each_zone_and_with_an_unescaped_plus(text: str) -> None:
    assert _time("since", text) == 1_793_491_200_000


def test_what_is_left_out_has_its_default() -> None:
    assert _limit(None) == PAGE
    assert _time("since", None) is None


@AT_THE_GATE
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/messages", {"POST"}),
        ("PUT", "/v1/messages", {"POST"}),
        ("GET", "/v1/messages/quote", {"POST"}),
        ("GET", "/v1/messages/count_tokens", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/v1/wallet", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(gate: Gate, method: str, path: str, allowed: set[str]) -> None:
    answer = await gate.client.request(method, path)

    error = refused(answer, 405, "invalid_request_error", "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed
    assert error["message"].startswith(f"{path} takes ") and error["message"].endswith(f", not {method}.")


@AT_THE_GATE
@pytest.mark.parametrize("path", ["/v2", "/v1", "/v1/message", "/v1/messages/", "/v1/wallet/", "/v1/models/a/b"])
async def test_what_is_not_there_is_said_in_the_envelope_and_never_by_a_redirect(gate: Gate, path: str) -> None:
    for method in ("GET", "POST"):
        error = refused(await gate.client.request(method, path), 404, "not_found_error", "not_found")
        assert error["message"] == f"There is nothing at {path}."


@AT_THE_GATE
async def test_a_head_request_is_answered_without_a_body(gate: Gate) -> None:
    assert (await gate.client.head("/healthz")).status_code == 200
    lost = await gate.client.head("/nowhere")
    assert (lost.status_code, lost.content) == (404, b"")


@AT_THE_GATE
async def test_a_client_may_knock_before_it_speaks(gate: Gate) -> None:
    knocked = await gate.client.head("/")
    assert (knocked.status_code, knocked.content) == (200, b"")
    assert (await gate.client.get("/")).json() == {"name": "faregate", "api": "/v1/messages"}


@AT_THE_GATE
async def test_every_answer_names_its_request(gate: Gate) -> None:
    key = await gate.key()
    answers = [await gate.get(path, key) for path in ("/healthz", "/v1/models", "/v1/pricing", "/v1/wallet", "/v1/no")]
    ids = [answer.headers["request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(request_id.startswith("req_") for request_id in ids)
