"""A key: whose wallet it spends, and what it may do.

    sk-fare-<id>_<secret><checksum>

`id` is 12 characters and public (it is shown in lists and logs), `secret` 32, `checksum` 6: the CRC-32 of all before
it, so that a mistyped key is known without asking the database. All are base 62. We keep a keyed hash of the whole
key, never the key.
"""

import ipaddress
import zlib
from typing import Final

import msgspec

from faregate.core.errors import Unauthenticated
from faregate.core.money import Nanos

PREFIX: Final = "sk-fare-"
ID_CHARS: Final = 12
SECRET_CHARS: Final = 32
CHECKSUM_CHARS: Final = 6
KEY_CHARS: Final = len(PREFIX) + ID_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

WINDOWS: Final = {"spend_5h": 5 * 3_600_000, "spend_1d": 24 * 3_600_000, "spend_7d": 7 * 24 * 3_600_000}
"""Spend windows, in milliseconds. A window opens with the first call in it and ends that much later."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


NO_ACCESS: Final = "The API key is missing, unknown, revoked or expired."
"""One sentence for all: only the code tells the owner of a key from a stranger."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may do. Empty or None means no limit."""

    id: str
    wallet_id: str
    name: str
    models: tuple[str, ...] = ()
    allow_ips: tuple[str, ...] = ()
    """CIDRs; when there are any, other addresses are refused."""
    deny_ips: tuple[str, ...] = ()
    created_at_ms: int
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    quota: Nanos | None = None
    """What it may spend in its whole life. Kept by the ledger, like the spend windows: never by memory."""
    spend_5h: Nanos | None = None
    spend_1d: Nanos | None = None
    spend_7d: Nanos | None = None
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrency: int | None = None


def judge_active(*, revoked_at_ms: int | None, expires_at_ms: int | None, now_ms: int) -> None:
    """Let a key pass that is neither revoked nor expired. Raises Unauthenticated."""
    if revoked_at_ms is not None:
        raise Unauthenticated(NO_ACCESS, code="key_revoked")
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        raise Unauthenticated(NO_ACCESS, code="key_expired")


def compose(key_id: str, secret: str) -> str:
    """Write a key out in full, checksum and all."""
    assert len(key_id) == ID_CHARS and len(secret) == SECRET_CHARS
    head = f"{PREFIX}{key_id}_{secret}"
    return head + _checksum(head)


def well_formed(key: str) -> bool:
    """Whether it has our shape and its checksum holds. Says nothing of whether we ever issued it."""
    if len(key) != KEY_CHARS or not key.startswith(PREFIX) or not key.isascii():
        return False
    return key[len(PREFIX) + ID_CHARS] == "_" and key[-CHECKSUM_CHARS:] == _checksum(key[:-CHECKSUM_CHARS])


def _checksum(head: str) -> str:
    rest, digits = zlib.crc32(head.encode()), []
    for _ in range(CHECKSUM_CHARS):
        rest, digit = divmod(rest, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(digits)


def ip_allowed(key: Key, address: str) -> bool:
    """Whether a client at this address may use the key. A deny beats an allow; a malformed address is refused."""
    if not key.allow_ips and not key.deny_ips:
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in _networks(key.deny_ips)):
        return False
    return not key.allow_ips or any(ip in network for network in _networks(key.allow_ips))


def _networks(cidrs: tuple[str, ...]) -> list[_Network]:
    return [ipaddress.ip_network(cidr, strict=False) for cidr in cidrs]
