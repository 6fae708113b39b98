"""What a call costs the operator: an upstream's own price, by which the margin of each call is known.

A cost is what its operator wrote down: a share of the list price, or five columns; of one model, or of all; from a time
on. It is derived from the usage of a charge whenever it is asked for (record 21), and no caller ever sees it. The rules
of money hold: whole nanodollars, an exact sum of products, and of a share of it the rounding, once, up.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from faregate.core.money import Nanos
from faregate.core.pricing import COLUMNS, PriceVersion, in_force, per_token
from faregate.wire.usage import Usage

SHARE_WHOLE: Final = 10_000
"""Shares are kept as ten-thousandths of the list price."""
SHARE_MAX: Final = 10 * SHARE_WHOLE

_SHARE = re.compile(r"(\d{1,2})(?:\.(\d{1,4}))?", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream's price, from a time on."""

    upstream: str
    model: str | None
    """None for every one that has no cost of its own."""
    since_ms: int
    share: int | None
    """Ten-thousandths of the list price; None where there are columns."""
    columns: PriceVersion | None


def cost(
    *, upstream: str, model: str | None, valid_from: str | None, share: str | None, columns: Mapping[str, str | None]
) -> Cost:
    """A cost from what people write. Raises ValueError, with a sentence that begins with the field."""
    since_ms = 0 if valid_from is None else _since_ms(valid_from)
    given = {name: text for name, text in columns.items() if text is not None}
    if share is not None:
        if given:
            raise ValueError(f"{next(iter(given))}: stands beside share; a cost is a share or five columns")
        return Cost(upstream=upstream, model=model, since_ms=since_ms, share=_share(share), columns=None)
    prices = dict[str, Nanos]()
    for name in COLUMNS:
        if name not in given:
            raise ValueError(f"{name}: is missing: a cost is a share, or all of {', '.join(COLUMNS)}")
        try:
            prices[name] = per_token(given[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    version = PriceVersion(id=upstream, model=model or "", valid_from_ms=since_ms, **prices)
    return Cost(upstream=upstream, model=model, since_ms=since_ms, share=None, columns=version)


class Costs:
    """Every cost that was written down, and the list prices that shares are of."""

    def __init__(
        self,
        costs: Iterable[Cost] = (),
        prices: Sequence[PriceVersion] = (),
        *,
        models: Callable[[str], str | None] = lambda name: name,
    ) -> None:
        """`models` gives the id of a model by its id or alias."""
        self._costs: dict[tuple[str, str | None], list[Cost]] = {}
        for one in sorted(costs, key=lambda one: one.since_ms):
            model = None if one.model is None else models(one.model) or one.model
            self._costs.setdefault((one.upstream, model), []).append(one)
        self._prices: dict[str, list[PriceVersion]] = {}
        for version in sorted(prices, key=lambda version: version.valid_from_ms):
            self._prices.setdefault(version.model, []).append(version)

    def __bool__(self) -> bool:
        return bool(self._costs)

    def of(self, upstream: str | None, model: str, usage: Usage, at_ms: int) -> Nanos | None:
        """What a usage cost at this upstream then; None where nothing says so."""
        if upstream is None:
            return None
        for named in (model, None):
            for one in reversed(self._costs.get((upstream, named), ())):
                if one.since_ms <= at_ms:
                    return self._at(one, model, usage, at_ms)
        return None

    def _at(self, one: Cost, model: str, usage: Usage, at_ms: int) -> Nanos | None:
        if one.columns is not None:
            return one.columns.cost(usage)
        listed = in_force(self._prices.get(model, ()), at_ms)
        if listed is None or one.share is None:
            return None
        return Nanos(-(-listed.cost(usage) * one.share // SHARE_WHOLE))


def _share(text: str) -> int:
    match = _SHARE.fullmatch(text.strip())
    share = -1 if match is None else int(match[1]) * SHARE_WHOLE + int((match[2] or "").ljust(4, "0"))
    if not 0 <= share <= SHARE_MAX:
        raise ValueError(f"share: {text!r} is not a share of the list price: 0 to 10, at most four decimals, as 0.8")
    return share


def _since_ms(text: str) -> int:
    try:
        at = datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z")
        if at.tzinfo is None:
            raise ValueError
        return (at - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"valid_from: {text!r} is not a day as 2027-01-01 or a time as 2027-01-01T08:00:00Z") from None
