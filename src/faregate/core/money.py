"""Money is a whole number of nanodollars.

One dollar is 1_000_000_000 nanodollars or 1_000_000 credits, so one credit is 1_000
nanodollars. Prices are whole nanodollars per token (see `pricing`), so a product of a
count and a price is exact and nothing is ever rounded.

    "12.5" credits  <->  12_500 nanodollars
"""

import re
from typing import Final, NewType

Nanos = NewType("Nanos", int)

ZERO: Final = Nanos(0)

NANOS_PER_CREDIT: Final = 1_000
CREDITS_PER_USD: Final = 1_000_000
NANOS_PER_USD: Final = NANOS_PER_CREDIT * CREDITS_PER_USD

NANOS_MAX: Final = 10**17
"""The most that one amount or wallet may be, a hundred million dollars: ninety of them fit into a signed 64-bit sum."""

_CREDITS = re.compile(r"(-?)(\d{1,16})(?:\.(\d{1,3}))?", re.ASCII)


def show_credits(nanos: int) -> str:
    """Show nanodollars as a decimal string of credits with at most three decimals: 12_500 -> "12.5"."""
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_PER_CREDIT)
    return f"{sign}{whole}" if rest == 0 else f"{sign}{whole}.{rest:03d}".rstrip("0")


def parse_credits(text: str) -> Nanos:
    """Read a decimal string of credits, at most three decimals.

    Raises ValueError, with a sentence for the reader, on anything else or on more than NANOS_MAX.
    """
    match = _CREDITS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of credits: digits with at most three decimals, as 12.5")
    sign, whole, rest = match.groups()
    nanos = int(whole) * NANOS_PER_CREDIT + int((rest or "").ljust(3, "0"))
    if nanos > NANOS_MAX:
        raise ValueError(f"{text!r} credits are more than one amount may be ({show_credits(NANOS_MAX)})")
    return Nanos(-nanos if sign else nanos)
