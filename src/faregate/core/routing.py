"""Where a model's calls go, and when a failed attempt is made again.

Without routes every model goes to all upstreams in their order. Where a route has weights, the first upstream of a
call is drawn by them and the others follow in order; one of weight 0 only follows. The retry envelope is CONTRACT 6:
what may be mended by asking again is asked again, `attempts_max` times at most and within a time budget, after a wait
drawn from the whole of a doubling range (full jitter), or the wait that upstream asked for; the next attempt goes to
the next upstream.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

RETRYABLE: Final = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""And every other 5xx; see `retryable`."""


_ABOUT_OUR_ACCOUNT: Final = (
    "Your credit balance is too low",
    "You have reached your specified API usage limits",
    "This organization has been disabled",
)
"""How Anthropic begins a 400 that no change of the request will mend."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The envelope's bounds."""

    attempts_max: int = 3
    budget_ms: int = 30_000
    """No wait is begun that would end later than this after the first attempt began."""
    wait_ms: int = 250
    """The top of the first wait's range; it doubles with each attempt."""
    wait_ms_max: int = 8_000


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's calls go."""

    upstreams: tuple[str, ...]
    """By name; after the last comes the first again."""
    weights: tuple[int, ...] = ()
    """One for each, not all of them 0; none where the order alone counts."""
    affinity: bool = True
    """Whether a conversation stays where its cache is warm."""

    @property
    def has_affinity(self) -> bool:
        """Whether there is a choice, and a conversation's past is to decide it."""
        return self.affinity and len(self.upstreams) > 1


class Routes:
    """Which upstreams may answer for a model."""

    def __init__(self, upstreams: Sequence[str], routes: Mapping[str, Sequence[str] | Route] | None = None) -> None:
        self._all = Route(upstreams=tuple(upstreams))
        self._routes = {
            model: route if isinstance(route, Route) else Route(upstreams=tuple(route))
            for model, route in (routes or {}).items()
        }

    def route(self, model: str) -> Route:
        """The model's own route, or the one for all that have none."""
        return self._routes.get(model, self._all)

    def upstreams(self, model: str) -> tuple[str, ...]:
        """The names to try, first to last; after the last comes the first again."""
        return self.route(model).upstreams


def drawn(names: Sequence[str], weights: Sequence[int], *, chance: float) -> str | None:
    """One of these, as often as its weight says; `chance` is in [0, 1). None where no weight is above 0."""
    left = int(sum(weights) * chance)
    for name, weight in zip(names, weights, strict=True):
        if left < weight:
            return name
        left -= weight
    return None


def retryable(status: int) -> bool:
    """Whether an upstream's answer may be different the next time."""
    return status in RETRYABLE or status >= 500


def about_our_account(message: str) -> bool:
    """Whether an upstream's 400 is about the operator's account. Callers would read it as being about their wallet."""
    return message.startswith(_ABOUT_OUR_ACCOUNT)


def wait_ms(retry: Retry, attempt: int, *, asked_ms: int | None, chance: float) -> int:
    """The wait after the `attempt`th failure (from 1); `chance` is in [0, 1). Upstream's own word goes first."""
    if asked_ms is not None:
        return asked_ms
    top = min(retry.wait_ms_max, retry.wait_ms * 2 ** (attempt - 1))
    return int(top * chance)


def may_retry(retry: Retry, attempt: int, *, elapsed_ms: int, wait_ms: int) -> bool:
    """Whether a further attempt fits the envelope."""
    return attempt < retry.attempts_max and elapsed_ms + wait_ms <= retry.budget_ms


def asked_wait_ms(headers: Mapping[str, str], *, now_ms: int) -> int | None:
    """What upstream asks for: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date. None for nonsense."""
    for name, scale in (("retry-after-ms", 1), ("retry-after", 1_000)):
        value = headers.get(name, "").strip()
        if value and value.isascii() and value.replace(".", "", 1).isdigit() and len(value) <= 9:
            return int(float(value) * scale)
    try:
        at = parsedate_to_datetime(headers.get("retry-after", ""))
        # A date without its zone is in GMT, as HTTP has it.
        at_ms = int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1_000)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0, at_ms - now_ms)
