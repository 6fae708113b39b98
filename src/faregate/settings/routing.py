"""The settings of routing: where a model's calls go, when one is made again, whom not to ask, and what upstreams cost.

The rule of `shape` holds: a setting that is not declared does not exist, and one that is declared is used.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Usd = Annotated[str | None, Meta(description="USD per million tokens, as `0.80`; all five, or a share.")]


class Route(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which upstreams serve a model, in order. Without routes, every model goes to the upstreams in order."""

    model: Annotated[str, Meta(min_length=1, description="The model, by its id in the catalog.")]
    upstreams: Annotated[tuple[str, ...], Meta(min_length=1, description="Names of upstreams, tried in order.")]
    weights: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=1_000_000)], ...],
        Meta(
            description="One for each upstream: how often it is the first that a call is sent to, as `[3, 1]`. The "
            "others follow in order; one of weight 0 only follows. Left out, the first is always first."
        ),
    ] = ()
    affinity: Annotated[
        bool,
        Meta(
            description="Whether a conversation stays with the upstream whose prompt cache is warm with it, while that "
            "is up."
        ),
    ] = True
    aliases: Annotated[tuple[str, ...], Meta(description="Other names by which callers may ask for this model.")] = ()


class Retry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retry envelope over an upstream's failures."""

    attempts_max: Annotated[int, Meta(ge=1, le=10, description="Attempts of one call, the first included.")] = 3
    budget_s: Annotated[
        float, Meta(ge=0, le=600, description="Seconds after which no further attempt of a call is begun.")
    ] = 30.0
    share_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Retries of all calls together, as a share of recent calls: an outage is not multiplied. When "
            "they are used up, a failure is given up at once.",
        ),
    ] = 20
    floor_per_s: Annotated[
        int, Meta(ge=0, le=100_000, description="Retries a second that are allowed beside that share.")
    ] = 10


class Breaker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The circuit breaker of each upstream. Failures are connections, deadlines, broken answers and 5xx; to an upstream
    that could not be connected to three times in a row it is open, too."""

    failures_max: Annotated[
        int, Meta(ge=1, le=100_000, description="Failures in a row after which it is not asked for a while.")
    ] = 10
    share_percent: Annotated[
        int, Meta(ge=1, le=100, description="Or failures among the attempts of a window, in per cent.")
    ] = 50
    window_s: Annotated[float, Meta(gt=0, le=3600, description="The window, in seconds.")] = 30.0
    window_calls_min: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Attempts in a window below which their share says nothing.")
    ] = 20
    rest_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Seconds until one call may probe it; each probe that fails doubles the next rest.",
        ),
    ] = 5.0
    rest_s_max: Annotated[float, Meta(gt=0, le=3600, description="The longest rest, in seconds.")] = 60.0


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an upstream costs the operator, so that margins are known. A cost is dated: append a new one when it
    changes, and calls that were made before keep theirs. Callers never see it."""

    upstream: Annotated[str, Meta(min_length=1, description="The upstream, by its name.")]
    model: Annotated[
        str | None, Meta(description="The model; every one that has no cost of its own when left out.")
    ] = None
    valid_from: Annotated[
        str | None,
        Meta(description="From when it holds, as `2027-01-01` or `2027-01-01T08:00:00Z`; left out, always."),
    ] = None
    share: Annotated[
        str | None,
        Meta(description="Share of the catalog's price, `0` to `10` with at most four decimals, as `0.8`."),
    ] = None
    input: Usd = None
    output: Usd = None
    cache_write_5m: Usd = None
    cache_write_1h: Usd = None
    cache_read: Usd = None
