"""Who may come in to the admin API, and how it answers what it does not take.

Method: the app over a real store, one wrong thing at a time.
"""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from faregate.edge.admin import BODY_BYTES_MAX, admin_app
from faregate.edge.desk import Desk
from faregate.edge.openapi import ROOT
from faregate.edge.verbs import VERBS
from faregate.logs import set_up_logging
from faregate.settings import Secret
from tests.edge.office import Admin, admin

TOKEN = Secret("correct-horse")


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(tmp_path, TOKEN) as opened:
        yield opened


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic correct-horse", "correct-horse", "Bearer correct-hors\xe9"],
)
async def test_without_the_token_nobody_comes_in(guarded: Admin, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}

    for path in ("/wallets", "/openapi.json"):
        answer = await guarded.client.get(ROOT + path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "authentication_error"
        assert "wallets" not in answer.json()


async def test_every_verb_asks_for_the_token(guarded: Admin) -> None:
    for verb in VERBS:
        answer = await guarded.client.request(verb.method, ROOT + verb.path.format(name="x"), json={})
        assert answer.status_code == 401, verb.name


@pytest.mark.parametrize("header", ["Bearer correct-horse", "bearer correct-horse", "Bearer  correct-horse "])
async def test_the_token_opens(guarded: Admin, header: str) -> None:
    answer = await guarded.client.get(f"{ROOT}/wallets", headers={"authorization": header})

    assert (answer.status_code, answer.json()) == (200, {"wallets": []})


async def test_the_owners_door_asks_for_no_token(owner: Admin) -> None:
    assert await owner.get("/wallets") == {"wallets": []}


async def test_the_document_is_served(owner: Admin) -> None:
    document = await owner.get("/openapi.json")

    assert document["openapi"] == "3.1.0"
    assert f"{ROOT}/wallets" in document["paths"]


async def test_unknown_paths_and_methods_are_answered_in_the_envelope(owner: Admin) -> None:
    assert (await owner.refused("GET", "/nothing"))[:2] == (404, "not_found")
    assert (await owner.refused("GET", "/wallets/"))[:2] == (404, "not_found"), "no redirect"
    assert (await owner.refused("DELETE", "/wallets"))[:2] == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"name":"a","colour":"red"}', "invalid_param", "colour: Extra inputs are not permitted"),
        (b"{}", "invalid_param", "name: Field required"),
        (b"", "invalid_param", "name: Field required"),
        (b'{"name":5}', "invalid_param", "name: expected str, got int"),
        (b'{"name":""}', "invalid_param", "name: expected str of length >= 1"),
        (b"[]", "invalid_param", "The body: expected object, got array"),
        (b'{"name":', "invalid_body", "The body is not JSON: Input data was truncated"),
        (b'{"name":"\xff"}', "invalid_body", "The body is not JSON: "),
        (b'{"name":"a","floor":"1"}', "invalid_param", "floor: may be 0 or below, since a new wallet is empty"),
        (b'{"name":"a","floor":"x"}', "invalid_param", "floor: 'x' is not an amount of credits"),
    ],
)
async def test_a_wrong_body_names_its_field(owner: Admin, body: bytes, code: str, message: str) -> None:
    status, found, said = await owner.refused("POST", "/wallets", content=body)

    assert (status, found) == (400, code)
    assert said.startswith(message)
    assert await owner.get("/wallets") == {"wallets": []}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=0", "limit: expected int >= 1"),
        ("limit=x", "limit: expected int, got str"),
        ("since=yesterday", "since: invalid RFC3339 encoded datetime"),
        ("since=2026-01-01T00:00:00", "since: expected datetime with a timezone component"),
        ("walet=demo", "walet: Extra inputs are not permitted"),
    ],
)
async def test_a_wrong_query_names_its_field(owner: Admin, query: str, message: str) -> None:
    assert await owner.refused("GET", f"/usage?{query}") == (400, "invalid_param", message)


async def test_a_long_body_is_refused_unread(owner: Admin) -> None:
    body = json.dumps({"name": "x" * BODY_BYTES_MAX}).encode()

    assert (await owner.refused("POST", "/wallets", content=body))[:2] == (413, "request_too_large")


async def test_a_fault_of_our_own_is_one_500_that_tells_nothing(owner: Admin) -> None:
    log = io.StringIO()
    set_up_logging("json", "info", log)

    def broken(name: str) -> str | None:
        raise RuntimeError(f"the secret of {name}")

    await owner.post("/wallets", name="demo")
    store = owner.store
    desk = Desk(office=store.office, records=store.records, prices=store.prices, models=broken)
    transport = httpx2.ASGITransport(app=admin_app(desk, token=None))
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as client:
        answer = await client.post(f"{ROOT}/keys", json={"wallet": "demo", "models": ["m"]})

    assert answer.status_code == 500
    assert answer.json()["error"]["details"] == {"error_code": "internal"}
    assert "secret" not in answer.text
    assert "the secret of m" in log.getvalue()
