"""Affinity: a conversation stays with the upstream whose prompt cache is warm with its beginning.

Remembered is which upstream was last sent a prompt, by the digests of its boundaries (`prompt`): the marks, at which
caches are written, and the end. The next prompt of a conversation begins with one of these. The head (tools, system) is
no conversation: an application has one for all of its calls, and would go to a single upstream with all of them.

Digests are of a wallet and a model, so no tenant's calls are steered by another's. Nothing is stored of what was said.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from faregate.core.prompt import Prompt

BOUNDARIES_MAX: Final = 50_000
SOUGHT_MAX: Final = 32
"""Boundaries of a prompt that are looked up, from its end: upstream itself looks back over twenty blocks."""
WARM_S: Final = {"5m": 300.0, "1h": 3_600.0}
"""How long a cache lives that nobody reads."""


class Trail(msgspec.Struct, frozen=True):
    """By what a prompt is known."""

    sought: tuple[bytes, ...] = ()
    """Longest first."""
    kept: tuple[tuple[bytes, str], ...] = ()
    """With the ttl of each."""


NO_TRAIL: Final = Trail()


def trail(prompt: Prompt) -> Trail:
    """The boundaries of a prompt beyond its head."""
    talk = prompt.parts[prompt.head + 1 :]
    if not talk:
        return NO_TRAIL
    kept = [(part.digest, part.ttl) for part in talk[:-1] if part.ttl is not None]
    kept.append((talk[-1].digest, talk[-1].ttl or "5m"))
    return Trail(tuple(part.digest for part in talk[: -SOUGHT_MAX - 1 : -1]), tuple(kept))


class Affinity:
    """What this process has sent where; bounded, and forgotten when caches are."""

    def __init__(self, most: int = BOUNDARIES_MAX) -> None:
        self._most = most
        self._homes: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self.new = self.kept = self.moved = 0
        """Prompts that were not known, went to their upstream, and could not because it is down."""

    def home(self, trail: Trail, now_s: float, *, is_up: Callable[[str], bool]) -> str | None:
        """The upstream that is warm with the longest known beginning; None where there is none that is up."""
        moved = False
        for digest in trail.sought:
            upstream, until_s = self._homes.get(digest, ("", now_s))
            if until_s <= now_s:
                continue
            if is_up(upstream):
                self.kept += 1
                return upstream
            del self._homes[digest]
            moved = True
        if moved:
            self.moved += 1
        else:
            self.new += 1
        return None

    def note(self, trail: Trail, upstream: str, now_s: float) -> None:
        """This prompt was sent there."""
        for digest, ttl in trail.kept:
            self._homes[digest] = (upstream, now_s + WARM_S[ttl])
            self._homes.move_to_end(digest)
        while len(self._homes) > self._most:
            self._homes.popitem(last=False)
