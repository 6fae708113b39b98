"""A batch that an upstream runs itself: what its life is, and what is asked of the ledger for it.

    filling ──> submitting ──> processing ──> ended     requests join; upstream is asked; it runs them; all are settled
       └────────────┴──────────────┴───────────^        given back to the queue, whole or what is left of it

The rule: a request is brought to an upstream's batches while it has never been tried. What comes back from there with a
try counted is run by our own queue. Times are Unix milliseconds.
"""

import enum
from typing import Final

import msgspec

REQUESTS_MAX: Final = 10_000
"""In one batch of an upstream, which would take 100,000."""
BYTES_MAX: Final = 32 * 1024 * 1024
"""Of their params together; upstream would take 256 MB, but it is in memory four times while it is sent."""


class NativeState(enum.StrEnum):
    FILLING = "filling"
    SUBMITTING = "submitting"
    PROCESSING = "processing"
    ENDED = "ended"


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """A batch of an upstream that has not ended."""

    wallet_id: str
    id: str
    batch_id: str
    upstream: str
    upstream_id: str | None = None
    """None until upstream has said it."""
    state: NativeState = NativeState.FILLING
    canceling: bool = False
    """Whether our batch was canceled."""
    ours: bool = True
    """Whether this process looks after it; otherwise its process is gone, and it may be adopted."""
    owner: tuple[str, int] = ("", 0)
    """The node and incarnation that look after it."""
    version: str = ""
    beta: str | None = None


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream's batch still runs goes back to the queue."""

    native: Native
    again_at_ms: int
    tried: bool
    """Whether it counts as a try: then it is not brought to an upstream's batches again."""
    crashed: bool = False
    """Whether its process went away while upstream was asked."""
    cost: bool = False
    """Whether upstream may bill for it: that is booked as a loss, with the charge's end."""
