"""The API's own part: paging of models, filters of usage, and what is not there. The rest is in tests/contract.

Method: a running gateway over HTTP.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.answers import refused
from tests.gateway import Gate, running

AT_THE_GATE = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    async with running(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


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
