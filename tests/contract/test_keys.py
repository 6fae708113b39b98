"""CONTRACT 8: what a key is, who may use it and from where, and that revoking it works at once.

Method: one running gateway that trusts proxies on 127.0.0.0/8, so that a test can say where its caller is.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import pytest_asyncio

from faregate.core.access import well_formed
from faregate.edge import desk
from faregate.upstreams.script import stream
from tests.contract.answers import refused, untouched
from tests.gateway import MODEL, Gate, ask, running
from tests.postgres import URL

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRUSTING = '[server]\ntrusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]\n'
HEADERS = {"content-type": "application/json"}
SLOW: dict[str, Any] = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "one two three four five six seven eight"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 8},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gate(module_folder: Path) -> AsyncIterator[Gate]:
    async with running(module_folder, toml=TRUSTING) as gate:
        yield gate


def id_of(key: str) -> str:
    return key.removeprefix("sk-fare-").partition("_")[0]


async def revoke(gate: Gate, key: str) -> None:
    await desk.key_revoke(gate.running.desk, desk.Asked(name=id_of(key)))


async def test_a_key_is_written_as_promised_and_a_mistyped_one_is_known_by_its_checksum(gate: Gate) -> None:
    key = await gate.key()

    assert re.fullmatch(r"sk-fare-[0-9A-Za-z]{12}_[0-9A-Za-z]{38}", key)
    assert well_formed(key)
    for place in range(len("sk-fare-"), len(key)):
        mistyped = key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]
        assert not well_formed(mistyped)
    refused(await gate.message(key[:-1] + ("a" if key[-1] != "a" else "b")), 401, "authentication_error",
            "invalid_api_key")  # fmt: skip


def dumped(folder: Path) -> str:
    """Everything that the ledger keeps, as text."""
    url = folder / URL
    if not url.exists():
        return "\n".join(sqlite3.connect(f"file:{folder}/home/faregate.db?mode=ro", uri=True).iterdump())
    with psycopg.connect(url.read_text()) as connection:
        tables = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        return "\n".join(
            str(row)
            for (table,) in tables.fetchall()
            for row in connection.execute(f'SELECT kept::text FROM "{table}" AS kept'.encode())
        )


async def test_a_key_is_shown_once_and_only_its_keyed_hash_is_kept(gate: Gate, module_folder: Path) -> None:
    key = await gate.key()
    await gate.message(key)
    secret = key.partition("_")[2]

    shown = await desk.key_show(gate.running.desk, desk.Asked(name=id_of(key)))
    assert secret not in str(shown)
    dump = dumped(module_folder)
    assert id_of(key) in dump
    assert secret not in dump and secret.encode().hex() not in dump.lower()


async def test_a_key_comes_in_x_api_key_or_as_a_bearer_and_x_api_key_wins(gate: Gate) -> None:
    key, other = await gate.key("first"), await gate.key("second")

    async def wallet(**headers: str) -> httpx2.Response:
        return await gate.client.get("/v1/wallet", headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def used(**headers: str) -> str:
        return str((await wallet(**headers)).json()["key"]["id"])

    assert await used(x_api_key=key) == await used(authorization=f"Bearer {key}") == id_of(key)
    assert await used(authorization=f"bearer {key}") == id_of(key)
    assert await used(x_api_key=key, authorization=f"Bearer {other}") == id_of(key)
    assert await used(x_api_key="", authorization=f"Bearer {key}") == id_of(key), "an empty header is none"
    for other_scheme in (f"Basic {key}", key, f"Bearer{key}"):
        refused(await wallet(authorization=other_scheme), 401, "authentication_error", "invalid_api_key")
    refused(await wallet(x_api_key="false", authorization=f"Bearer {key}"), 401, "authentication_error",
            "invalid_api_key")  # fmt: skip


async def test_a_key_is_never_taken_from_body_cookie_or_query(gate: Gate) -> None:
    key = await gate.key()
    async with untouched(gate):
        answers = [
            await gate.client.post("/v1/messages", headers=HEADERS, json={**ask(), "api_key": key}),
            await gate.client.post("/v1/messages", headers=HEADERS | {"cookie": f"x-api-key={key}"}, json=ask()),
            await gate.client.post(f"/v1/messages?x-api-key={key}&api_key={key}", headers=HEADERS, json=ask()),
        ]
    for answer in answers:
        refused(answer, 401, "authentication_error", "invalid_api_key")


async def test_a_scope_of_models_is_kept_for_calls_quotes_and_counts(gate: Gate) -> None:
    key = await gate.key(models=["claude-sonnet-4-6"])

    assert (await gate.message(key, ask(model="claude-sonnet-4-6"))).status_code == 200
    for path in ("/v1/messages", "/v1/messages/quote", "/v1/messages/count_tokens"):
        error = refused(await gate.post(path, key, ask()), 403, "permission_error", "model_not_in_scope")
        assert MODEL in error["message"]


async def test_a_scope_that_was_given_by_an_alias_means_the_model(gate: Gate) -> None:
    key = await gate.key(models=["claude-haiku-4-5-20251001"])

    for name in (MODEL, "claude-haiku-4-5-20251001"):
        assert (await gate.message(key, ask(model=name))).status_code == 200


@pytest.mark.parametrize(
    ("rules", "address", "allowed"),
    [
        ({"allow_ips": ["192.0.2.0/24"]}, "192.0.2.7", True),
        ({"allow_ips": ["192.0.2.0/24"]}, "198.51.100.1", False),
        ({"deny_ips": ["192.0.2.0/24"]}, "192.0.2.7", False),
        ({"deny_ips": ["192.0.2.0/24"]}, "198.51.100.1", True),
        ({"allow_ips": ["192.0.2.0/24"], "deny_ips": ["192.0.2.7"]}, "192.0.2.7", False),
        ({"allow_ips": ["2001:db8::/32"]}, "2001:db8::1", True),
        ({"allow_ips": ["2001:db8::/32"]}, "2001:db9::1", False),
        ({"allow_ips": ["192.0.2.0/24"]}, "::ffff:192.0.2.7", True),
        ({"allow_ips": ["192.0.2.0/24"]}, "not an address", False),
    ],
)
async def test_a_key_is_used_from_the_addresses_that_it_is_for(
    gate: Gate,
    rules: dict[str, Any],
    address: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    key = await gate.key(**rules)
    for path in ("/v1/messages", "/v1/messages/quote"):
        answer = await gate.post(path, key, ask(), x_forwarded_for=address)
        if allowed:
            assert answer.status_code == 200
        else:
            assert address in refused(answer, 403, "permission_error", "ip_not_allowed")["message"]


async def test_the_address_is_the_last_hop_that_no_trusted_proxy_vouches_for(gate: Gate) -> None:
    key = await gate.key(allow_ips=["192.0.2.7"])

    async def status(*lines: str) -> int:
        headers = [("x-api-key", key), *(("x-forwarded-for", line) for line in lines)]
        return (await gate.client.get("/v1/wallet", headers=headers)).status_code

    assert await status("192.0.2.7") == 200
    assert await status("192.0.2.7, 10.0.0.1") == 200
    assert await status("192.0.2.7", "10.0.0.1") == 200
    # What the caller itself wrote stands to the left of what the proxy saw.
    assert await status("192.0.2.7, 198.51.100.1") == 403
    assert await status("192.0.2.7", "198.51.100.1") == 403
    assert await status("198.51.100.1", "192.0.2.7") == 200
    assert await status() == 403


async def test_forwarded_addresses_are_not_believed_of_strangers(folder: Path) -> None:
    async with running(folder) as gate:
        key = await gate.key(allow_ips=["192.0.2.7"])
        answer = await gate.message(key, x_forwarded_for="192.0.2.7")
        assert "127.0.0.1" in refused(answer, 403, "permission_error", "ip_not_allowed")["message"]


async def test_a_key_that_expires_while_it_is_in_use_is_refused_from_then_on(gate: Gate) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    key = await gate.key(expires_at=expires)
    async with asyncio.timeout(20):
        while (answer := await gate.get("/v1/wallet", key)).status_code == 200:
            pass

    assert datetime.now(UTC) >= expires
    refused(answer, 401, "authentication_error", "key_expired")
    async with untouched(gate):
        refused(await gate.message(key), 401, "authentication_error", "key_expired")


async def test_a_revoked_key_is_refused_by_the_very_next_call(gate: Gate) -> None:
    key, other = await gate.key(), await gate.key()
    assert (await gate.message(key)).status_code == 200
    await revoke(gate, key)

    async with untouched(gate):
        refused(await gate.message(key), 401, "authentication_error", "key_revoked")
        for path in ("/v1/wallet", "/v1/usage", "/v1/models"):
            refused(await gate.get(path, key), 401, "authentication_error", "key_revoked")
    assert (await gate.message(other)).status_code == 200


async def test_a_call_under_way_ends_as_it_began_when_its_key_is_revoked(gate: Gate) -> None:
    key = await gate.key()
    gate.upstream.play([stream(SLOW, gap_ms=30)])
    body = ask(stream=True)
    async with gate.client.stream("POST", "/v1/messages", headers={"x-api-key": key}, json=body) as answer:
        await revoke(gate, key)
        text = (await answer.aread()).decode()
    assert "event: message_stop" in text


async def test_two_wallets_never_see_each_others_receipts_usage_or_credits(gate: Gate) -> None:
    mine, theirs = await gate.key("mine", "5000"), await gate.key("theirs", "7000")
    call = (await gate.message(mine)).json()["id"]

    assert (await gate.receipt(mine, call))["id"] == call
    refused(await gate.get(f"/v1/receipts/{call}", theirs), 404, "not_found_error", "not_found")
    assert call not in (await gate.get("/v1/usage?limit=1000", theirs)).text
    assert (await gate.get("/v1/wallet", theirs)).json()["balance"] == "7000"
    # An Idempotency-Key is the wallet's own: the same word of another is another call.
    for key in (mine, theirs):
        assert (await gate.message(key, idempotency_key="same")).status_code == 200


async def test_keys_of_one_wallet_share_its_credits_and_receipts_and_not_their_usage(gate: Gate) -> None:
    one, two = await gate.key("shared", "5000"), await gate.key("shared")
    call = await gate.message(one)

    assert (await gate.receipt(two, call.json()["id"]))["key_id"] == id_of(one)
    assert await gate.receipts(two) == []
    left = str(5000 - int(call.headers["x-credits-charged"]))
    assert (await gate.get("/v1/wallet", two)).json()["balance"] == left
