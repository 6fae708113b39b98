"""The keys of one upstream, used in turn: what one of them is refused for, another may be let in with.

One rule: a key that was refused rests, and is used before its time only when every one of them rests. What is not let
in at all (401) rests for every model; rates and permissions (429, 403) are of a key and a model.

    in_turn(model)                          the keys that do not rest, the next one in turn first; one at least
    refused(key, model, status, headers)    whether that answer is about the key; if so, the key rests
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from faregate.core.routing import asked_wait_ms

REFUSALS: Final = frozenset({401, 403, 429})
"""Statuses that are about who asks. Nothing was generated, so the same request may be sent with another key."""
REST_S: Final = {401: 300.0, 403: 300.0, 429: 20.0}
"""How long a key rests. A key that was revoked is mended by a person; a rate is over in less than a minute."""
REST_S_MAX: Final = 900.0
"""Upstream's own `retry-after` is heeded up to this."""

EVERY_MODEL: Final = ""


class Key:
    """One of them. No Struct: those show their fields to whatever prints them."""

    __slots__ = ("place", "secret")

    def __init__(self, place: int, secret: str | None) -> None:
        self.place = place
        """From 0, in the order of the settings."""
        self.secret = secret
        """None: no key is sent, for a server that asks for none."""

    def __repr__(self) -> str:
        return f"Key({self.place})"


class Keys:
    """Belongs to one upstream."""

    def __init__(self, secrets: Sequence[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """None at all is one that is not sent. Raises ValueError on an empty one."""
        if not all(secrets):
            raise ValueError("api_key: is empty")
        self.all = tuple(Key(place, secret) for place, secret in enumerate(secrets)) or (Key(0, None),)
        self._clock = clock
        self._next = 0
        self._rests_until: dict[tuple[int, str], float] = {}
        """By place and model; a model is a configured one, so they are few."""

    def __repr__(self) -> str:
        return f"Keys({len(self.all)})"

    def in_turn(self, model: str) -> Sequence[Key]:
        """The keys that a call of this model should try, in that order: those that do not rest, else the one that rests
        least."""
        keys = self.all
        if len(keys) == 1:
            return keys

        def rests_until(key: Key) -> float:
            rests = self._rests_until
            return max(rests.get((key.place, EVERY_MODEL), 0.0), rests.get((key.place, model), 0.0))

        first, self._next = self._next, (self._next + 1) % len(keys)
        now = self._clock()
        turned = keys[first:] + keys[:first]
        awake = [key for key in turned if rests_until(key) <= now]
        return awake or [min(turned, key=rests_until)]

    def refused(self, key: Key, model: str, status: int, headers: Mapping[str, str]) -> bool:
        """Whether an answer refuses this key, which then rests."""
        if status not in REFUSALS:
            return False
        asked_ms = asked_wait_ms(headers, now_ms=int(time.time() * 1_000)) if status == 429 else None
        rest_s = REST_S[status] if asked_ms is None else min(asked_ms / 1_000, REST_S_MAX)
        self._rests_until[key.place, EVERY_MODEL if status == 401 else model] = self._clock() + rest_s
        return True

    def redact(self, text: str) -> str:
        """The text without any of them."""
        for key in self.all:
            if key.secret is not None:
                text = text.replace(key.secret, "[redacted]")
        return text
