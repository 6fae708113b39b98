"""Who calls, and for which model: nobody gets past without a key that holds, and one sentence refuses them all.

Method: a real store behind a wired gateway, callers as the door makes them, and every way in which a key can fail.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from faregate.core.access import NO_ACCESS
from faregate.core.errors import Forbidden, InvalidRequest, NotFound, NotReady, Unauthenticated
from faregate.edge import desk
from faregate.proxy import entry
from tests.gateway import MODEL, ask
from tests.proxy.standing import Server, standing


async def test_the_key_header_wins_over_the_bearer() -> None:
    assert entry.bearer(Server(x_api_key="one", authorization="Bearer two").caller) == "one"
    assert entry.bearer(Server(authorization="bearer  two ").caller) == "two"


@pytest.mark.parametrize(
    "headers", [{}, {"x_api_key": "  "}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}, {"cookie": "k=1"}]
)
async def test_without_a_key_nobody_comes_in(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated, match=NO_ACCESS):
        entry.bearer(Server(**headers).caller)


async def test_a_key_is_found_and_judged(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key = await gate.key(allow_ips=("10.0.0.0/8",))
        found = await entry.authenticate(gate.running.gate, Server(x_api_key=key, address="10.1.1.1").caller)

        assert found.id in key
        for address in ("192.0.2.1", "", "nonsense"):
            with pytest.raises(Forbidden) as refused:
                await entry.authenticate(gate.running.gate, Server(x_api_key=key, address=address).caller)
            assert refused.value.code == "ip_not_allowed"


async def test_a_stranger_an_expired_and_a_revoked_key_hear_one_sentence_and_the_owner_a_code(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        soon = datetime.now(UTC) + timedelta(hours=1)
        stranger, expired, revoked = await gate.key(), await gate.key(expires_at=soon), await gate.key()
        found = await gate.running.gate.keys.find(revoked)
        assert found is not None
        await desk.key_revoke(gate.running.desk, desk.Asked(name=found.id))
        wired = gate.running.gate
        later = msgspec.structs.replace(wired, now_ms=lambda: wired.now_ms() + 3_600_001)
        unknown = stranger[:-1] + ("a" if stranger[-1] != "a" else "b")
        for key, world, code in (
            (unknown, wired, "invalid_api_key"),
            ("nonsense", wired, "invalid_api_key"),
            (expired, later, "key_expired"),
            (revoked, wired, "key_revoked"),
        ):
            with pytest.raises(Unauthenticated) as refused:
                await entry.authenticate(world, Server(x_api_key=key).caller)
            assert (refused.value.message, refused.value.code) == (NO_ACCESS, code)
        assert (await entry.authenticate(wired, Server(x_api_key=expired).caller)).id in expired


async def test_what_cannot_be_a_key_is_refused_without_the_database(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        key, wired = await gate.key(), gate.running.gate
    with pytest.raises(Unauthenticated):
        await entry.authenticate(wired, Server(x_api_key="nonsense").caller)
    with pytest.raises(NotReady):  # The database is closed, and this one might be a key.
        await entry.authenticate(wired, Server(x_api_key=key).caller)


@pytest.mark.parametrize("body", [b"{", b"[1]", b"", b'"\xff"', b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        entry.read(body)

    assert refused.value.code == "invalid_body"


async def test_a_model_is_found_by_id_and_alias_and_only_in_the_keys_scope(tmp_path: Path) -> None:
    async with standing(tmp_path) as gate:
        wired = gate.running.gate
        free, scoped = [await wired.keys.find(await gate.key(models=models)) for models in ((), (MODEL,))]
        assert free is not None and scoped is not None

        for name in (MODEL, f"{MODEL}-20251001"):
            assert entry.find_model(wired, scoped, ask(model=name)).id == MODEL
        assert entry.find_model(wired, free, ask(model="claude-opus-4-7")).id == "claude-opus-4-7"
        with pytest.raises(Forbidden, match=f"may not use claude-opus-4-7. It may use: {MODEL}"):
            entry.find_model(wired, scoped, ask(model="claude-opus-4-7"))
        with pytest.raises(NotFound) as unknown:
            entry.find_model(wired, free, ask(model="x" * 256))
        assert unknown.value.code == "model_not_found" and len(unknown.value.message) < 150
        with pytest.raises(InvalidRequest, match="model: String should have 1 to 256 characters"):
            entry.find_model(wired, free, ask(model="x" * 257))
        for document, words in (({}, "model: Field required"), ({"model": 7}, "model: Input should be a valid string")):
            with pytest.raises(InvalidRequest, match=words):
                entry.find_model(wired, free, document)
