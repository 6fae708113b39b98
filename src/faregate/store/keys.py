"""Keys: kept by a keyed hash, found by it, and remembered in this process.

Only HMAC-SHA256(pepper, the key written out) is stored, so neither the file nor a copy of it lets anyone in. A key
that is not ours is never remembered, so guessing fills nothing. What is remembered is true: one process owns a file,
and every change passes through here; replicas on one database are told of each change, and one that cannot be told
remembers nothing. The reserve itself looks once more.
"""

import hmac
import json
import secrets
from collections import OrderedDict
from typing import Any, Final

import msgspec

from faregate.core.access import Key
from faregate.core.errors import Conflict, InvalidRequest, NotFound
from faregate.store import limits
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers, StoreRefused

CACHE_MAX: Final = 100_000
PEPPER_BYTES: Final = 32

_COLUMNS: Final = """
id, wallet_id, name, models, allow_ips, deny_ips, created_at, expires_at, revoked_at, quota, spend_5h, spend_1d,
spend_7d, requests_per_minute, input_tokens_per_minute, output_tokens_per_minute, concurrency
"""
_BY_DIGEST: Final = f"SELECT {_COLUMNS}, digest FROM key WHERE digest = ?"  # noqa: S608 - constants
_BY_ID: Final = f"SELECT {_COLUMNS}, digest FROM key WHERE id = ?"  # noqa: S608 - constants
_OF_WALLET: Final = f"SELECT {_COLUMNS} FROM key WHERE wallet_id = ? ORDER BY created_at, id"  # noqa: S608 - constants
_ALL: Final = f"SELECT {_COLUMNS} FROM key ORDER BY wallet_id, created_at, id"  # noqa: S608 - constants
_TAKEN: Final = "SELECT 1 FROM key WHERE id = ? OR digest = ?"
_WALLET: Final = "SELECT 1 FROM account WHERE wallet_id = ? AND id = ?"
_INSERT: Final = f"""
INSERT INTO key({_COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608 - constants
_REVOKE: Final = "UPDATE key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"

_READ_PEPPER: Final = "SELECT value FROM meta WHERE name = 'pepper'"
_WRITE_PEPPER: Final = "INSERT INTO meta(name, value) VALUES ('pepper', ?)"
_READ_FINGERPRINT: Final = "SELECT value FROM meta WHERE name = 'pepper_fingerprint'"
_WRITE_FINGERPRINT: Final = "INSERT INTO meta(name, value) VALUES ('pepper_fingerprint', ?)"


class Keys:
    """Implements port.Keys, and the part of port.Office that is about keys."""

    def __init__(self, writer: Writer, readers: Readers, pepper: bytes | None) -> None:
        self._writer = writer
        self._readers = readers
        self._pepper = pepper
        """None where a database is open for reading only: there no caller is let in."""
        self._cache: OrderedDict[bytes, Key] = OrderedDict()
        self._limited: dict[str, bool] = {}
        self._trusted = True
        self._forgotten = 0
        """How often something was forgotten: what was read before that is not remembered after it."""

    def cached(self, key: str) -> Key | None:
        if not self._trusted:
            return None
        digest = self._digest(key)
        found = self._cache.get(digest)
        if found is not None:
            self._cache.move_to_end(digest)
        return found

    async def find(self, key: str) -> Key | None:
        digest, forgotten = self._digest(key), self._forgotten
        row = await self._readers.point(_BY_DIGEST, (digest,))
        if row is None or not hmac.compare_digest(row[-1], digest):
            return None
        found = _key(row)
        return self._remember(digest, found) if forgotten == self._forgotten else found

    def forget(self, key_id: str | None) -> None:
        """Remember nothing of a key, or of any."""
        self._forgotten += 1
        gone = [digest for digest, key in self._cache.items() if key_id in (None, key.id)]
        for digest in gone:
            del self._cache[digest]

    def trust(self, trusted: bool) -> None:  # noqa: FBT001 - a listener says one word
        """Whether we would hear of a change: while we would not, every key is looked up."""
        self._trusted = trusted
        self.forget(None)

    def may_be_limited(self, key_id: str) -> bool:
        """False only for a key that is known to have no quota and no spend window. From any thread."""
        return self._limited.get(key_id, True)

    async def create(self, key: Key, *, secret: str) -> Key:
        """As Office.key_create."""
        await self._writer.submit(_create, (key, self._digest(secret)))
        return key

    async def revoke(self, key_id: str, *, at_ms: int) -> Key:
        """As Office.key_revoke."""
        digest, key = await self._writer.submit(_revoke, (key_id, at_ms))
        if digest in self._cache:
            self._remember(digest, key)
        return key

    async def key(self, key_id: str) -> Key:
        """As Office.key_find."""
        row = await self._readers.point(_BY_ID, (key_id,))
        if row is None:
            raise _unknown(key_id)
        return _key(row)

    async def list(self, wallet_id: str | None) -> list[Key]:
        """As Office.keys, by the wallet's id."""
        if wallet_id is None:
            return await self._readers.scan(lambda connection: [_key(row) for row in connection.execute(_ALL)])
        return await self._readers.scan(
            lambda connection: [_key(row) for row in connection.execute(_OF_WALLET, (wallet_id,))]
        )

    def _digest(self, key: str) -> bytes:
        assert self._pepper is not None, "opened for reading only"
        return hmac.digest(self._pepper, key.encode(), "sha256")

    def _remember(self, digest: bytes, key: Key) -> Key:
        self._cache[digest] = key
        self._cache.move_to_end(digest)
        self._limited[key.id] = any(cap is not None for cap in (key.quota, key.spend_5h, key.spend_1d, key.spend_7d))
        if len(self._cache) > CACHE_MAX:
            _, oldest = self._cache.popitem(last=False)
            self._limited.pop(oldest.id, None)
        return key


def kept_pepper(connection: Connection, pepper: bytes | None) -> bytes:
    """The pepper of a database that replicas share: the operator's own, or the one it keeps. Raises StoreRefused.

    The keys' secrets are long and random, so a copy of the database lets nobody in, with the pepper or without.
    """
    row = connection.execute(_READ_PEPPER).fetchone()
    if pepper is None and row is not None:
        pepper = bytes.fromhex(row[0])
    elif pepper is None:
        if connection.execute(_READ_FINGERPRINT).fetchone() is not None:
            raise StoreRefused(
                "This database's keys are kept with a pepper of the operator's own: set FAREGATE_PEPPER to it."
            )
        pepper = secrets.token_bytes(PEPPER_BYTES)
        connection.execute(_WRITE_PEPPER, (pepper.hex(),))
    check_pepper(connection, pepper)
    return pepper


def check_pepper(connection: Connection, pepper: bytes) -> None:
    """Make sure that this is the pepper the keys were kept with; the first one is noted. Raises StoreRefused."""
    if len(pepper) != PEPPER_BYTES:
        raise StoreRefused(f"The pepper must be {PEPPER_BYTES} bytes, not {len(pepper)}.")
    fingerprint = hmac.digest(pepper, b"faregate: fingerprint of the pepper", "sha256").hex()
    row = connection.execute(_READ_FINGERPRINT).fetchone()
    if row is None:
        connection.execute(_WRITE_FINGERPRINT, (fingerprint,))
    elif not hmac.compare_digest(row[0], fingerprint):
        raise StoreRefused(
            "The pepper is not the one that this database's keys were kept with, so no key would be known. "
            "Put the pepper file back that belongs to it."
        )


def _create(connection: Connection, command: tuple[Key, bytes]) -> None:
    key, digest = command
    if connection.execute(_WALLET, (key.wallet_id, key.wallet_id)).fetchone() is None:
        raise NotFound(f"wallet_id: there is no wallet {key.wallet_id}.")
    if connection.execute(_TAKEN, (key.id, digest)).fetchone() is not None:
        raise Conflict(f"id: there is a key {key.id} already.", code="conflict")
    if any(cap is not None and cap < 0 for cap in (key.quota, key.spend_5h, key.spend_1d, key.spend_7d)):
        raise InvalidRequest("quota, spend_5h, spend_1d, spend_7d: a cap is not below 0.")
    facts = msgspec.structs.asdict(key)
    lists = {name: json.dumps(facts[name]) for name in ("models", "allow_ips", "deny_ips")}
    connection.execute(_INSERT, (*(facts | lists).values(), digest))
    if key.quota is not None:
        quota = limits.quota(key.id, key.quota)
        limits.open_account(connection, key.wallet_id, key.id, quota, key.created_at_ms)


def _revoke(connection: Connection, command: tuple[str, int]) -> tuple[bytes, Key]:
    key_id, at_ms = command
    connection.execute(_REVOKE, (at_ms, key_id))
    row = connection.execute(_BY_ID, (key_id,)).fetchone()
    if row is None:
        raise _unknown(key_id)
    return row[-1], _key(row)


def _unknown(key_id: str) -> NotFound:
    return NotFound(f"There is no key {key_id}.")


def _key(row: tuple[Any, ...]) -> Key:
    id_, wallet_id, name, models, allow_ips, deny_ips, *rest = row[:17]
    facts = dict(zip(Key.__struct_fields__[6:], rest, strict=True))
    return Key(
        id=id_,
        wallet_id=wallet_id,
        name=name,
        models=tuple(json.loads(models)),
        allow_ips=tuple(json.loads(allow_ips)),
        deny_ips=tuple(json.loads(deny_ips)),
        **facts,
    )
