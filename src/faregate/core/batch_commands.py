"""What is asked of the ledger for a batch. Amounts are nanodollars, already halved; times are Unix milliseconds."""

import msgspec

from faregate.core.batch import RequestState
from faregate.core.ledger import Loss, Release, Settle
from faregate.core.money import Nanos


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to be made, without its requests."""

    id: str
    wallet_id: str
    key_id: str
    request_id: str
    version: str
    beta: str | None
    total: int
    """How many requests it will have."""
    waiting_max: int
    """How many requests its wallet may have waiting, with these."""
    waiting_bytes_max: int
    """And how many bytes of them."""
    ceiling: Nanos
    """What all of it can cost at most."""
    abandon_budget: Nanos | None
    at_ms: int
    expires_at_ms: int


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request of it, quoted."""

    number: int
    custom_id: str
    charge_id: str
    """The message id that its answer will have."""
    model: str
    price_id: str
    params: bytes
    body_sha256: bytes
    held: Nanos
    estimated: Nanos


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A request that this process is to run, and nobody else."""

    wallet_id: str
    batch_id: str
    number: int
    charge_id: str
    key_id: str
    request_id: str
    version: str
    beta: str | None
    price_id: str
    params: bytes
    held: Nanos
    estimated: Nanos
    tries: int
    crashes: int
    wasted: Nanos
    """What earlier tries have cost: booked as a loss with the charge's end."""

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it is: its wallet, its batch, and its number there."""
        return self.wallet_id, self.batch_id, self.number

    @property
    def claim(self) -> tuple[str, str, int, int, int]:
        """Which claim on it this is: each one that is taken back counts one more try or crash."""
        return *self.place, self.tries, self.crashes

    def loss(self, wasted: Nanos) -> Loss | None:
        """Under what name tries in vain are lost, where they have cost anything."""
        if not wasted:
            return None
        return Loss.CRASH if self.crashes else Loss.ERROR


class End(msgspec.Struct, frozen=True, kw_only=True):
    """A request has ended: its charge and its result, in one transaction."""

    ticket: Ticket
    charge: Settle | Release
    state: RequestState
    result: bytes | None
    """None where it was canceled, or expired."""


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A request goes back: it is to be run again, not before a time."""

    ticket: Ticket
    again_at_ms: int
    tries: int
    crashes: int
    wasted: Nanos
