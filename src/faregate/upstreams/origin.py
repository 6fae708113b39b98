"""Where an upstream lives, and the head of a request to it, checked once so that it need not be checked per call.

One rule: nothing that was configured or sent by a caller can end a header line early.

    https://api.example.com/prefix  ->  Origin(https, api.example.com, 443), "/prefix"
    request_head(origin, path, headers)  ->  bytes up to and including "content-length: "
"""

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
"""A header name: RFC 9110's token."""
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""A header value: visible latin-1, spaces and tabs. No CR, LF or NUL, which is what makes an injection."""
_TARGET = re.compile(r"/[\x21-\x7e]*", re.ASCII)
_BAD_IN_URL = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")

_PORTS: dict[str, int] = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True):
    """What a connection is for: connections are shared by origin and never between two."""

    scheme: Literal["http", "https"]
    host: str
    """Without brackets: what is dialled and what the certificate must name."""
    port: int

    @property
    def authority(self) -> str:
        """As the host header has it: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """Host and port, always both, as CONNECT and our messages have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"


def parse_base_url(url: str) -> tuple[Origin, str]:
    """Read a base URL as an origin and a path prefix without a slash at its end.

    Raises ValueError with a sentence that does not repeat the URL: it may hold a password.
    """
    if _BAD_IN_URL.search(url):
        raise ValueError(
            "base_url: has a space, a control, a backslash or a letter outside ASCII; write it percent-encoded"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"base_url: {error}") from None
    if parts.scheme not in _PORTS:
        raise ValueError("base_url: must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("base_url: must not hold a user name or password; the key has a setting of its own")
    if not parts.hostname:
        raise ValueError("base_url: names no host")
    if parts.query or parts.fragment:
        raise ValueError("base_url: must end with its path, without ? or #")
    if port == 0:
        raise ValueError("base_url: port 0 cannot be dialled")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Origin(scheme, parts.hostname, port or _PORTS[scheme]), parts.path.rstrip("/")


def request_head(
    origin: Origin, path: str, headers: Sequence[tuple[str, str]], *, method: Literal["POST", "GET"] = "POST"
) -> bytes:
    """Build the head of a request up to `content-length: `, to be joined with a length and a body.

    Raises ValueError, naming the header and never its value, which may be secret.
    """
    if not _TARGET.fullmatch(path):
        raise ValueError("path: must begin with / and hold visible ASCII only")
    lines = [f"{method} {path} HTTP/1.1", f"host: {origin.authority}", "accept-encoding: identity"]
    for name, value in headers:
        check_header(name, value)
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")


def check_header(name: str, value: str) -> None:
    """Raise ValueError unless the pair can stand in a request's head as it is."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"header name {name!r}: not a token")
    if not _VALUE.fullmatch(value) or value != value.strip():
        raise ValueError(f"header {name}: its value has a line break, a control, a space at an end, or is not latin-1")
