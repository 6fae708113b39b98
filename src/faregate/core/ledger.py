"""What is asked of the ledger, and the rules of a charge's life.

    reserved ──> streaming ──> settled
       │  │          │  │
       │  └──────────┼──┴────> released
       └──> orphaned <┘
              ├──────────────> released
              └──────────────> settled     (a late owner comes back)

`settled` and `released` are terminal: such a row never changes again. Every change is a compare-and-set on the state.
A hold is taken with the charge and freed with its end; releasing is settling nothing.
"""

import enum
from typing import Final

import msgspec

from faregate.core.limits import Bucket
from faregate.core.money import Nanos
from faregate.wire.usage import NOTHING, Usage


class State(enum.StrEnum):
    RESERVED = "reserved"
    STREAMING = "streaming"
    SETTLED = "settled"
    RELEASED = "released"
    ORPHANED = "orphaned"


class Outcome(enum.StrEnum):
    """How a call ended. Only the first two are ever billed."""

    OK = "ok"
    CLIENT_GONE = "client_gone"
    UPSTREAM_ERROR = "upstream_error"
    GATEWAY_ERROR = "gateway_error"
    GATEWAY_CRASH = "gateway_crash"
    SHUTDOWN = "shutdown"


class Basis(enum.StrEnum):
    """How we know a usage: upstream said so, we counted what passed, or there was nothing to count."""

    UPSTREAM = "upstream"
    COUNTED = "counted"
    NOTHING = "nothing"


class Tier(enum.StrEnum):
    """What a charge pays of its price version: all of it, or half (core.batch)."""

    STANDARD = "standard"
    BATCH = "batch"


class Loss(enum.StrEnum):
    """The operator's losses, each an account of its own name."""

    SHORTFALL = "shortfall"
    CRASH = "crash_loss"
    ERROR = "error_loss"
    ABANDON = "abandon_loss"


WORLD: Final = "world"
REVENUE: Final = "revenue"
LIMITS: Final = "limits"
"""The counter-account of every key's quota and spend windows."""
PROMO: Final = "promo"
OPERATOR_ACCOUNTS: Final = (WORLD, REVENUE, LIMITS, PROMO, *Loss)
"""Accounts without a floor. Their balances are sums over transfers, never kept per request: the hottest rows of all."""


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Take a hold. Amounts are nanodollars; `hold = input_ceiling + max_tokens × output_price`."""

    charge_id: str
    """The message id, and the idempotency key of everything that follows."""
    wallet_id: str
    key_id: str
    request_id: str
    """The request that asks for it: a receipt leads back to the caller's own log."""
    model: str
    price_id: str
    body_sha256: bytes
    idempotency_key: str | None
    input_ceiling: Nanos
    output_price: Nanos
    """Per token."""
    max_tokens: int
    min_tokens: int
    """The fewest output tokens it may be clamped to; equal to max_tokens where clamping is refused."""
    estimated: Nanos
    """The best guess of the charge; booked as the loss if we die with the call open."""
    input_tokens: int = 0
    """What it will probably use: taken from the key's rates, and corrected when it ends."""
    output_tokens: int = 0
    input_tokens_max: int = 0
    """The most that it can come to. What upstream counts beyond it is no reason to keep its key waiting for days."""
    abandon_budget: Nanos | None = None
    """How much a key's callers may leave unpaid by hanging up, in an hour; None for any amount."""
    at_ms: int


class Reserved(msgspec.Struct, frozen=True, kw_only=True):
    """A hold that was taken, durably."""

    held: Nanos
    max_tokens: int
    """As affordable: what may be sent upstream."""
    available: Nanos
    """The wallet's, with this hold taken."""
    quota_available: Nanos | None
    """The key's own remaining quota with this hold taken, where it has one."""
    rates: tuple[Bucket, ...] = ()
    """The key's rates with this call taken, where it has any."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is kept for a repeat of its call."""

    headers: list[tuple[str, str]]
    """What it said of its type, its quote and its charge."""
    body: bytes
    """As the caller got it: of a stream, all of its events."""
    kept_until_ms: int


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """End a charge with money: charged + shortfall = cost of the usage, charged <= held."""

    charge_id: str
    wallet_id: str
    key_id: str
    outcome: Outcome
    usage: Usage
    basis: Basis
    charged: Nanos
    shortfall: Nanos
    loss: Loss | None = None
    """A loss of the operator's own beside the shortfall (what upstream bills on after a hang-up)."""
    loss_amount: Nanos = Nanos(0)
    upstream: str | None = None
    attempts: int = 0
    unused_input_tokens: int = 0
    """Taken from the key's rates and not used; below 0 when more was used."""
    unused_output_tokens: int = 0
    answer: Answer | None = None
    """Kept in the same transaction, so that a repeat finds either both or neither."""
    at_ms: int


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """End a charge without money. What upstream made of it all the same is booked as the operator's loss."""

    charge_id: str
    wallet_id: str
    key_id: str
    outcome: Outcome
    usage: Usage = NOTHING
    basis: Basis = Basis.NOTHING
    loss: Loss | None = None
    loss_amount: Nanos = Nanos(0)
    upstream: str | None = None
    attempts: int = 0
    unused_input_tokens: int = 0
    """Taken from the key's rates and not used; below 0 when more was used."""
    unused_output_tokens: int = 0
    at_ms: int


class Lose(msgspec.Struct, frozen=True, kw_only=True):
    """Book a loss that turned out after its charge had ended. A charge has one loss: where there is one, it stands."""

    charge_id: str
    wallet_id: str
    key_id: str
    loss: Loss
    loss_amount: Nanos
    at_ms: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as its caller may read it back."""

    id: str
    request_id: str
    wallet_id: str
    key_id: str
    state: State
    outcome: Outcome | None
    model: str
    usage: Usage
    basis: Basis
    price_version: str
    max: Nanos
    """What was held."""
    charged: Nanos
    shortfall: Nanos
    attempts: int
    created_at_ms: int
    settled_at_ms: int | None
    upstream: str | None = None
    """The one that answered. The operator's to know: no caller is shown it."""
    tier: Tier = Tier.STANDARD


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet's books, in nanodollars. available = posted - held, and it is never below floor."""

    id: str
    name: str
    posted: Nanos
    held: Nanos
    floor: Nanos
    created_at_ms: int

    @property
    def available(self) -> Nanos:
        return Nanos(self.posted - self.held)


def unused(command: Reserve, usage: Usage) -> tuple[int, int]:
    """What of the tokens that a call took from its key's rates it did not use: of input, and of output."""
    return (
        command.input_tokens - min(usage.input_total, command.input_tokens_max),
        command.output_tokens - min(usage.output, command.max_tokens),
    )


def affordable(command: Reserve, available: int) -> int | None:
    """How many output tokens of `command` this much money covers beside its input; None when fewer than its minimum."""
    rest = available - command.input_ceiling
    if rest < 0:
        return None
    if command.output_price == 0:
        return command.max_tokens
    tokens = min(command.max_tokens, rest // command.output_price)
    return tokens if tokens >= command.min_tokens else None


def split(cost: int, held: int) -> tuple[Nanos, Nanos]:
    """Divide a cost into what the hold covers and the operator's shortfall."""
    assert cost >= 0 and held >= 0
    charged = min(cost, held)
    return Nanos(charged), Nanos(cost - charged)
