"""What stands in a query of the API, read: texts, times, and where a page begins and how long it is."""

from datetime import datetime
from typing import Final

from faregate.core.errors import InvalidRequest
from faregate.edge.forms import milliseconds

PAGE_MAX: Final = 1_000
PAGE: Final = 20

NUL: Final = "\0"
"""No database but SQLite takes one in a text, so none gets there."""


def text_of(name: str, text: str | None) -> str | None:
    """A text as it came, or None. Raises InvalidRequest."""
    if text is not None and NUL in text:
        raise InvalidRequest(f"{name}: Input should be a text without a NUL")
    return text


def limit_of(text: str | None) -> int:
    """How many to a page. Raises InvalidRequest."""
    if text is None:
        return PAGE
    if len(text) > 4 or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= PAGE_MAX:
        raise InvalidRequest(f"limit: Input should be a whole number from 1 to {PAGE_MAX}")
    return int(text)


def position_of(ids: list[str], wanted: str | None, *, otherwise: int) -> int:
    """Where a page begins, or ends. Nothing stands before or after what is not in the list (any more)."""
    return ids.index(wanted) if wanted in ids else otherwise


def time_of(name: str, text: str | None) -> int | None:
    """Unix milliseconds, or None. Raises InvalidRequest."""
    if text is None:
        return None
    try:
        # A plus sign of an offset that was not escaped arrives as a space.
        at = datetime.fromisoformat(text.replace(" ", "+"))
        return milliseconds(at)
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest(
            f"{name}: Input should be an RFC 3339 time with its zone, as 2026-11-01T00:00:00Z"
        ) from None
