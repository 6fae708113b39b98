"""What the doors take in of a request, whoever serves it: its headers, who sent it, and whether its body may be read.

fields -> {name: value}      client_address -> "192.0.2.1"      judge_head: UnsupportedMedia, BodyTooLarge
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from faregate.core.errors import BodyTimeout, BodyTooLarge, UnsupportedMedia

Fields = dict[bytes, bytes]
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

CLOSE: Final = (b"connection", b"close")
"""Sent where a body never came to its end. A body that is refused for what it is gets no such header: closing on bytes
that are still coming resets the connection, and the client would read that instead of our answer. The server throws
away what is left of it."""


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """What the door takes in."""

    body_bytes_max: int = 32 * 1024 * 1024
    body_timeout_s: float = 60.0
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Peers whose `x-forwarded-for` is believed; everybody else's is ignored."""

    def judge_head(self, fields: Fields) -> None:
        """Refuse a body by what its head says of it. Raises UnsupportedMedia or BodyTooLarge."""
        if b"content-encoding" in fields:
            encoding = fields[b"content-encoding"].decode("latin-1")
            if encoding.strip().lower() not in ("", "identity"):
                raise UnsupportedMedia(f"content-encoding: send the body as it is, not {encoding[:40]}.")
        if b"transfer-encoding" in fields:
            coding = fields[b"transfer-encoding"].decode("latin-1")
            if coding.strip().lower() != "chunked":
                raise UnsupportedMedia(
                    f"transfer-encoding: send the body chunked or with its length, not {coding[:40]}."
                )
        length = fields.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.body_bytes_max:
            raise self.too_large()

    def too_large(self) -> BodyTooLarge:
        """The refusal of a body over the limit."""
        return BodyTooLarge(f"The request's body is over the limit of {self.body_bytes_max} bytes.")

    def too_late(self) -> BodyTimeout:
        """The refusal of a body that does not come to its end."""
        return BodyTimeout(f"The request's body did not arrive within {self.body_timeout_s:g} s.", headers=[CLOSE])


def fields(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """The headers by name; of one that was sent twice the last, but for the two of which no line may be passed over."""
    found = dict(headers)
    if len(found) < len(headers):
        for name, seam in _JOINED:
            if name in found:
                found[name] = seam.join([value for other, value in headers if other == name])
    return found


_JOINED: Final = (
    # The one list among the headers that we read: several lines of it are one, and none of it is ours to drop.
    (b"anthropic-beta", b","),
    # Of two keys neither may be passed over: joined like this they are none, and refused where a key is judged.
    (b"idempotency-key", b"\n"),
)


def client_address(client: Any, headers: Sequence[tuple[bytes, bytes]], trusted: Networks) -> str:
    """The client's address: the socket's, or what trusted proxies say, read from the last hop to the first.

    `client` is the socket's (host, port), or None.
    """
    address = str(client[0]) if client else ""
    if not trusted:
        return address
    # A proxy may add a line of its own where another would append: together they are one list.
    lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    if not lines:
        return address
    hops = [hop.strip() for hop in ",".join(lines).split(",")]
    while hops and _is_in(address, trusted):
        address = hops.pop()
    return address


def _is_in(address: str, networks: Networks) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # What a listener on `::` calls an IPv4 peer.
    return any(ip in network for network in networks)
