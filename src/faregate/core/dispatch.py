"""Dispatch: which upstream an attempt goes to, of those that its model has and that are fit to be asked.

What stands in the way of one is its breaker (it is down), or its own word (`retry-after`: it rests, for that model,
until then). An attempt goes to the first from its turn on that neither holds back; if all that are up rest, to the one
that is soonest rested; if none is up, to the one that is soonest due, all the same: that it is down is a guess of ours,
and no call is refused for a guess. In each case who has just failed is asked again only where nobody else can be, in
the time that there is.

    order(route, trail) -> names       once a call: warm cache first, else drawn by weight, else as configured
    turn(names, ...)    -> Turn        before each attempt: who, and how long until then
    begin               -> permit      when it is made; good | bad | left takes it back

Pure, and one for the whole process: time and chance are arguments. With a single upstream that is up it is one look-up.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from faregate.core.affinity import NO_TRAIL, Affinity, Trail
from faregate.core.breaker import Bounds, Breaker, State
from faregate.core.budget import Allowance, Budget
from faregate.core.routing import Route, drawn

REST_S_MAX: Final = 600.0
"""However long an upstream asks for, it is asked again then: no call waits longer, and a wrong header is no outage."""


class Turn(msgspec.Struct, frozen=True):
    """Who is next."""

    upstream: str
    wait_ms: int | None = None
    """What it asked us to wait; None where nobody said."""
    anyway: bool = False
    """Whether it is asked though it is down."""


class Dispatch:
    """What this process knows of its upstreams."""

    def __init__(self, bounds: Bounds | None = None, allowance: Allowance | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._breakers: dict[str, Breaker] = {}
        self._rests: dict[tuple[str, str], float] = {}
        """Until when an upstream rests, for a model. They are all configured names, so they are few."""
        self.budget = Budget(allowance or Allowance())
        self.affinity = Affinity()

    def state(self, upstream: str, now_s: float) -> State:
        """What its breaker would say to who asks now."""
        return self._breaker(upstream).state(now_s)

    def is_up(self, upstream: str, now_s: float) -> bool:
        """Whether a call may ask it now. A breaker that waits for its probe counts as up: it may be just that."""
        return self._breaker(upstream).state(now_s) is not State.OPEN

    def is_reachable(self, upstream: str, now_s: float) -> bool:
        """Whether there is somebody, as far as we know."""
        return not self._breaker(upstream).is_unreachable(now_s)

    def order(self, route: Route, trail: Trail, now_s: float, *, chance: Callable[[], float]) -> tuple[str, ...]:
        """A call's upstreams, first to last."""
        names, first = route.upstreams, None
        if trail is not NO_TRAIL:
            first = self.affinity.home(trail, now_s, is_up=lambda name: self.is_up(name, now_s))
        if first not in names and route.weights:
            weights = [
                weight if self.is_up(name, now_s) else 0 for name, weight in zip(names, route.weights, strict=True)
            ]
            first = drawn(names, weights, chance=chance())
        return (first, *(name for name in names if name != first)) if first in names else names

    def turn(
        self, names: Sequence[str], number: int, model: str, now_s: float, *, last: str | None, patience_ms: int
    ) -> Turn:
        """The upstream for a call's attempt of this number, counted from 0. `last` is the one that has just failed; it
        is asked again before others that rest for longer than itself and than `patience_ms`.
        """
        soonest = own = None
        due, due_rank = names[0], (True, math.inf)
        for step in range(len(names)):
            name = names[(number + step) % len(names)]
            breaker_due_s = self._breaker(name).due_s(now_s)
            if breaker_due_s > 0:
                rank = (name == last, breaker_due_s)
                if rank < due_rank:
                    due, due_rank = name, rank
                continue
            wait_ms = self._rest_ms(name, model, now_s)
            if name == last:
                own = Turn(name, wait_ms)
            elif not wait_ms:
                return Turn(name, wait_ms)
            elif soonest is None or wait_ms < (soonest.wait_ms or 0):
                soonest = Turn(name, wait_ms)
        if soonest is not None and (own is None or (soonest.wait_ms or 0) <= max(own.wait_ms or 0, patience_ms)):
            return soonest
        return own or Turn(due, anyway=True)

    def begin(self, upstream: str, model: str, now_s: float, *, anyway: bool = False) -> int | None:
        """A permit for one attempt; None where it must not be made now after all, unless it is made `anyway`."""
        if not anyway and self._rests and self._rests.get((upstream, model), now_s) > now_s:
            return None
        return self._breaker(upstream).begin(now_s, anyway=anyway)

    def good(self, upstream: str, permit: int, model: str, trail: Trail, now_s: float) -> None:
        """It answered, and is warm with this prompt."""
        self._breaker(upstream).good(permit, now_s)
        if self._rests:
            self._rested(upstream, model, now_s)
        if trail is not NO_TRAIL:
            self.affinity.note(trail, upstream, now_s)

    def bad(
        self, upstream: str, permit: int, model: str, now_s: float, *, alive: bool, unreachable: bool,
        asked_ms: int | None,
    ) -> None:  # fmt: skip
        """The attempt was in vain; `alive` where that is no sign of an upstream that is down. `asked_ms` is how long it
        wants to be left alone."""
        breaker = self._breaker(upstream)
        if alive:
            breaker.good(permit, now_s)
        else:
            breaker.bad(permit, now_s, unreachable=unreachable)
        if asked_ms is not None:
            until_s = now_s + min(asked_ms / 1_000, REST_S_MAX)
            self._rests[upstream, model] = max(until_s, self._rests.get((upstream, model), 0.0))
        else:
            self._rested(upstream, model, now_s)

    def broke(self, upstream: str, permit: int, now_s: float) -> None:
        """A good attempt's stream broke off."""
        self._breaker(upstream).broke(permit, now_s)

    def left(self, upstream: str, permit: int, now_s: float) -> None:
        """The attempt was not waited for."""
        self._breaker(upstream).left(permit, now_s)

    def _rest_ms(self, upstream: str, model: str, now_s: float) -> int | None:
        """What is left of the rest that it asked for; None where it asked for none."""
        until_s = self._rests.get((upstream, model)) if self._rests else None
        return None if until_s is None else max(0, math.ceil((until_s - now_s) * 1_000))

    def _rested(self, upstream: str, model: str, now_s: float) -> None:
        if self._rests.get((upstream, model), math.inf) <= now_s:
            del self._rests[upstream, model]

    def _breaker(self, upstream: str) -> Breaker:
        found = self._breakers.get(upstream)
        return found if found is not None else self._breakers.setdefault(upstream, Breaker(self._bounds))
