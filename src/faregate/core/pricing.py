"""A price version: five columns in whole nanodollars per token, and the day from which it holds.

People print prices in USD per million tokens ("0.10"). One USD per million tokens is 1_000 nanodollars a token, so a
price with at most three decimals is a whole number and a charge is an exact sum of products. Versions are appended,
never edited; a charge names the version that was in force when it was held.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from faregate.core.money import Nanos
from faregate.wire.usage import Usage

NANOS_PER_TOKEN_MAX: Final = 100_000_000
"""USD 100,000 per million tokens: no model is near it, and a million tokens at it still fit a 64-bit column."""

_USD_PER_MTOK = re.compile(r"(\d{1,6})(?:\.(\d{1,3}))?", re.ASCII)

COLUMNS: Final = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
"""The order in which prices are printed."""


class PriceVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Nanodollars per token, in force for `model` from `valid_from_ms` until a later version begins."""

    id: str
    """Shown as `x-price-version`: `claude-haiku-4-5@2025-10-15`."""
    model: str
    valid_from_ms: int
    """Unix milliseconds."""
    input: Nanos
    output: Nanos
    cache_write_5m: Nanos
    cache_write_1h: Nanos
    cache_read: Nanos

    def cost(self, usage: Usage) -> Nanos:
        """Price a usage, exactly."""
        return Nanos(
            usage.input * self.input
            + usage.output * self.output
            + usage.cache_write_5m * self.cache_write_5m
            + usage.cache_write_1h * self.cache_write_1h
            + usage.cache_read * self.cache_read
        )


def per_token(usd_per_mtok: str) -> Nanos:
    """Read "0.10" USD per million tokens as nanodollars per token (100). Raises ValueError with a sentence."""
    match = _USD_PER_MTOK.fullmatch(usd_per_mtok.strip())
    if match is None:
        raise ValueError(f"{usd_per_mtok!r} is not a price: USD per million tokens, at most three decimals, as 1.25")
    whole, rest = match.groups()
    nanos = int(whole) * 1_000 + int((rest or "").ljust(3, "0"))
    if nanos > NANOS_PER_TOKEN_MAX:
        raise ValueError(f"{usd_per_mtok!r} is above the largest price, 100000 USD per million tokens")
    return Nanos(nanos)


def usd_per_mtok(nanos_per_token: int) -> str:
    """Print a column as people do, with two or three decimals: 100 -> "0.10", 1_250 -> "1.25"."""
    whole, rest = divmod(nanos_per_token, 1_000)
    decimals = f"{rest:03d}"
    return f"{whole}.{decimals[:2] if decimals[2] == '0' else decimals}"


def in_force(versions: Sequence[PriceVersion], now_ms: int) -> PriceVersion | None:
    """The version that holds now: the latest whose time has come. `versions` are sorted by `valid_from_ms`."""
    for version in reversed(versions):
        if version.valid_from_ms <= now_ms:
            return version
    return None
