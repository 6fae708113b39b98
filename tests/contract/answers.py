"""What tests of refusals share: an error is read whole, and a call that was refused has left no trace in the books."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from tests.gateway import Gate


def refused(
    answer: httpx2.Response, status: int, kind: str, code: str, *, retried: bool | None = False, wait: bool = False
) -> dict[str, Any]:
    """Check an error's status, envelope and headers; give its `error`. `retried` None: not this test's subject."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert list(body) == ["type", "error", "request_id"]
    assert body["type"] == "error"
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message", "details"}
    assert (error["type"], error["details"]["error_code"]) == (kind, code), error
    assert error["message"].strip()
    assert body["request_id"].startswith("req_")
    assert answer.headers["request-id"] == body["request_id"]
    if retried is not None:
        assert answer.headers.get("x-should-retry") == (None if retried else "false")
    assert ("retry-after" in answer.headers) == wait
    assert "x-credits-max" not in answer.headers
    return error


@contextlib.asynccontextmanager
async def untouched(gate: Gate, wallet: str = "main", *, calls: int = 0) -> AsyncIterator[None]:
    """Nothing is billed or left held meanwhile, and upstream is asked exactly so often."""
    before, seen = await gate.books(wallet), asked(gate)
    yield
    assert asked(gate) - seen == calls
    assert await gate.books(wallet) == before


def asked(gate: Gate) -> int:
    """How often upstream was asked in its life."""
    return gate.upstream.log[-1].index + 1 if gate.upstream.log else 0
