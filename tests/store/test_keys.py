"""Keys: never kept in the clear, found by their hash, remembered, and revoked at once."""

import hmac
from pathlib import Path
from typing import Any

import pytest

from faregate.core.errors import Conflict, InvalidRequest, NotFound
from faregate.core.money import Nanos
from faregate.store import keys as keeping
from faregate.store.database import StoreRefused
from faregate.store.store import Store
from tests.store.books import KEY, NOW, PEPPER, SECRET, WALLET, fund, key, opening, place
from tests.store.raw import raw_on

FULL = key(
    id="key_2",
    models=("small", "large"),
    allow_ips=("10.0.0.0/8",),
    deny_ips=("10.1.0.0/16", "::1/128"),
    expires_at_ms=NOW + 5,
    quota=Nanos(1),
    spend_5h=Nanos(2),
    spend_1d=Nanos(3),
    spend_7d=Nanos(4),
    requests_per_minute=5,
    input_tokens_per_minute=6,
    output_tokens_per_minute=7,
    concurrency=8,
)


async def test_a_key_is_found_as_it_was_made(store: Store) -> None:
    await fund(store, 0)
    await store.office.key_create(FULL, secret="sk-fare-two")

    assert await store.keys.find("sk-fare-two") == FULL
    assert await store.office.key_find("key_2") == FULL
    assert await store.office.keys("main") == [key(), FULL]
    assert await store.office.keys(None) == [key(), FULL]


async def test_a_key_is_not_in_the_file(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 0)
    kept = b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()))  # noqa: ASYNC240 - nothing else runs

    assert KEY.encode() in kept
    assert SECRET.encode() not in kept


async def test_what_is_kept_of_a_key_is_its_hash_under_the_pepper(folder: Path) -> None:
    async with opening(folder) as store:
        await fund(store, 0)
    raw = raw_on(place(folder))
    kept = bytes(raw.one("SELECT digest FROM key"))
    raw.close()

    assert kept == hmac.digest(PEPPER, SECRET.encode(), "sha256")


@pytest.mark.parametrize(
    ("pepper", "because"), [(b"q" * 32, "not the one"), (PEPPER[:31], "must be 32 bytes"), (PEPPER + b"p", "not 33")]
)
async def test_keys_are_not_opened_with_another_pepper_than_theirs(folder: Path, pepper: bytes, because: str) -> None:
    async with opening(folder) as store:
        await fund(store, 0)
    with pytest.raises(StoreRefused, match=because):
        async with opening(folder, pepper=pepper):
            raise AssertionError("it was opened")

    async with opening(folder) as store:
        assert await store.keys.find(SECRET) == key()


async def test_who_would_not_hear_of_a_change_has_nothing_at_hand_nor_has_who_begins_to_listen(store: Store) -> None:
    await fund(store, 0)
    await store.keys.find(SECRET)
    store.keys.trust(False)
    assert await store.keys.find(SECRET) == key()
    assert store.keys.cached(SECRET) is None

    store.keys.trust(True)
    assert store.keys.cached(SECRET) is None
    found = await store.keys.find(SECRET)
    assert store.keys.cached(SECRET) is found


async def test_a_key_is_at_hand_after_the_first_time(store: Store) -> None:
    await fund(store, 0)
    assert store.keys.cached(SECRET) is None
    found = await store.keys.find(SECRET)

    assert found == key()
    assert store.keys.cached(SECRET) is found


async def test_an_unknown_key_is_never_remembered(store: Store) -> None:
    await fund(store, 0)
    for guess in ("sk-fare-three", "", "schlüssel", SECRET + "x"):
        assert await store.keys.find(guess) is None
        assert store.keys.cached(guess) is None
    assert len(store.keys._cache) == 0


async def test_a_revoked_key_is_revoked_at_hand_too_and_the_first_time_stands(store: Store) -> None:
    await fund(store, 0)
    await store.keys.find(SECRET)
    first = await store.office.key_revoke(KEY, at_ms=NOW + 1)
    again = await store.office.key_revoke(KEY, at_ms=NOW + 2)

    assert first == again == key(revoked_at_ms=NOW + 1)
    assert store.keys.cached(SECRET) in (first, None)  # a replica that is told of its own word looks it up again
    assert await store.keys.find(SECRET) == first


async def test_a_key_that_changed_while_it_was_looked_up_is_not_remembered_as_it_was(store: Store) -> None:
    await fund(store, 0)
    readers = store.keys._readers

    class Slow:
        """Between the reading of a row and its arrival here, another replica's word comes in."""

        async def point(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
            row = await readers.point(statement, values)
            store.keys.forget(KEY)
            return row

    store.keys._readers = Slow()  # type: ignore[assignment]
    assert await store.keys.find(SECRET) == key()

    assert store.keys.cached(SECRET) is None


async def test_what_is_at_hand_is_bounded_and_the_oldest_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CACHE_MAX", 2)
    await fund(store, 0)
    for name in ("a", "b", "c"):
        await store.office.key_create(key(id=name, quota=Nanos(1)), secret=name)
    await store.keys.find("a")
    await store.keys.find("b")
    assert store.keys.cached("a") is not None  # used just now, so b is the oldest
    await store.keys.find("c")

    assert [store.keys.cached(name) is not None for name in ("a", "b", "c")] == [True, False, True]
    assert len(store.keys._limited) == 2


async def test_only_a_key_that_is_known_to_be_free_is_taken_as_unlimited(store: Store) -> None:
    await fund(store, 0)
    assert store.keys.may_be_limited(KEY)
    await store.keys.find(SECRET)
    assert not store.keys.may_be_limited(KEY)

    for name in ("quota", "spend_5h", "spend_1d", "spend_7d"):
        await store.office.key_create(key(id=name, **{name: Nanos(0)}), secret=name)
        await store.keys.find(name)
        assert store.keys.may_be_limited(name)


async def test_a_key_that_cannot_be_is_refused(store: Store) -> None:
    await fund(store, 0)
    with pytest.raises(NotFound, match="wallet"):
        await store.office.key_create(key(id="x", wallet_id="nowhere"), secret="x")
    with pytest.raises(Conflict):
        await store.office.key_create(key(), secret="other")
    with pytest.raises(Conflict):
        await store.office.key_create(key(id="x"), secret=SECRET)
    with pytest.raises(InvalidRequest):
        await store.office.key_create(key(id="x", spend_1d=Nanos(-1)), secret="x")

    assert [found.id for found in await store.office.keys(WALLET)] == [KEY]


async def test_an_unknown_key_id_is_said_to_be_unknown(store: Store) -> None:
    for verb in (store.office.key_find("none"), store.office.key_revoke("none", at_ms=1)):
        with pytest.raises(NotFound, match="no key none"):
            await verb
    with pytest.raises(NotFound, match="no wallet none"):
        await store.office.keys("none")


async def test_a_quota_is_paid_in_with_the_key(store: Store) -> None:
    await fund(store, 0, quota=Nanos(500), spend_5h=Nanos(70))

    assert (await store.office.operator_accounts())["limits"] == -500
    assert await store.records.spent(await store.office.key_find(KEY), NOW) == {"quota": 500, "spend_5h": 70}
