"""What the bench and its callers say to each other: a job in, one line of figures out. JSON, a line each.

One rule: every job has a bound in time and in count.
"""

import statistics
from collections.abc import Sequence

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to one door."""

    url: str
    headers: dict[str, str]
    body: str
    keys: tuple[str, ...] = ()
    """Callers' keys that take turns, call by call."""
    count: int
    """Calls in all."""
    concurrency: int
    """Connections; each sends its next call when its last is answered."""
    seconds_max: float
    """After which no further call is begun."""
    ca_file: str = ""
    events: int = 0
    """Text events that each answer must have."""
    timed: bool = False
    """Whether each event says when it was sent."""
    ramp_s: float = 0.0
    """In which the connections are opened, one after another."""
    stall: bool = False
    """Read the head and nothing more, and hold on until the next job."""


class Spread(msgspec.Struct, frozen=True):
    """A figure over many samples, in milliseconds."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a job came to."""

    calls: int
    errors: int
    elapsed_s: float
    whole: Spread
    first: Spread
    """To the first byte of the body."""
    gap: Spread = Spread()
    """Between two events of one stream, as they arrived."""
    late: Spread = Spread()
    """From an event's sending at upstream to its arrival here."""
    events: int = 0
    first_error: str = ""


def spread(samples: Sequence[float], *, per_ms: float) -> Spread:
    """Their median, 99th percentile and maximum; `per_ms` units are a millisecond."""
    if not samples:
        return Spread()
    ordered = sorted(samples)
    return Spread(statistics.median(ordered) / per_ms, ordered[int(len(ordered) * 0.99)] / per_ms, ordered[-1] / per_ms)
