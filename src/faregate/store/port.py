"""The store as the floors above know it. Every verb is one transaction, answered only after COMMIT.

Times are Unix milliseconds and come in as arguments; amounts are nanodollars. Every verb raises
`errors.NotReady(code="database_unavailable")` when the database does not take it; where that is `unknown`, it may have
been done all the same.
"""

from typing import Protocol

import msgspec

from faregate.core.access import Key
from faregate.core.batch import Batch, RequestState
from faregate.core.batch_commands import Again, End, NewBatch, NewRequest, Ticket
from faregate.core.ledger import Answer, Lose, Receipt, Release, Reserve, Reserved, Settle, Wallet
from faregate.core.money import Nanos
from faregate.core.pricing import PriceVersion


class Ledger(Protocol):
    """The hot path: taken in batches by one writer."""

    async def reserve(self, command: Reserve) -> Reserved:
        """Take a hold, clamped to what the wallet and the key's own limits afford.

        Raises PaymentRequired (insufficient_credits; quota_exceeded), with `required`, `available` (credit strings)
        and `affordable_max_tokens` (int) in details; RateLimited with retry_after_s (concurrency | requests |
        input_tokens | output_tokens), and with should_retry False (abandoned | spend_5h | spend_1d | spend_7d);
        Unauthenticated (key_revoked | key_expired) when the key is no longer active; InFlight, Repeated or
        Unsupported for an idempotency key that was used before.
        """

    def streaming(self, charge_id: str, wallet_id: str, at_ms: int) -> None:
        """Note, without waiting, that the first byte has gone to the caller."""

    async def settle(self, command: Settle) -> None:
        """End a charge with money. Safe to repeat: the second time changes nothing."""

    async def release(self, command: Release) -> None:
        """End a charge without money. Safe to repeat. After NotReady it is done once the database can, unasked."""

    async def lose(self, command: Lose) -> None:
        """Book a loss of a charge that has ended or is about to. Safe to repeat: the first time stands.

        After NotReady it is done once the database can and the charge has ended, unasked.
        """


class Keys(Protocol):
    def cached(self, key: str) -> Key | None:
        """The key if this process has it at hand; no I/O."""

    async def find(self, key: str) -> Key | None:
        """Look a full key up by its keyed hash. Revoked and expired keys are found too: the caller judges."""


class Prices(Protocol):
    async def current(self) -> None:
        """Before a call is quoted: where we would not hear of a new version, read them anew. Raises NotReady."""

    def price(self, model: str, now_ms: int) -> PriceVersion | None:
        """The version in force now; no I/O."""

    def versions(self) -> list[PriceVersion]:
        """Every version, by model, then by date."""


class Page(Protocol):
    """One page of receipts, newest first."""

    @property
    def receipts(self) -> list[Receipt]: ...

    @property
    def next(self) -> str | None:
        """The cursor of the next page, None on the last."""


class Records(Protocol):
    """Reading back."""

    async def receipt(self, wallet_id: str, charge_id: str) -> Receipt | None: ...

    async def answer(self, wallet_id: str, charge_id: str, at_ms: int) -> Answer | None:
        """The answer of a call, if it was kept and its time is not over."""

    async def forget_answers(self, at_ms: int) -> int:
        """Delete some of the answers whose time is over; 0 when there was none left."""

    async def usage(
        self,
        wallet_id: str,
        *,
        key_id: str | None,
        model: str | None,
        since_ms: int | None,
        until_ms: int | None,
        before: str | None,
        limit: int,
    ) -> Page: ...

    async def wallet(self, wallet_id: str) -> Wallet | None: ...

    async def spent(self, key: Key, now_ms: int) -> dict[str, int]:
        """What is left of each of the key's own caps: quota, spend_5h, spend_1d, spend_7d, where it has them."""

    async def writable(self) -> bool:
        """Whether the database takes a write now (readiness)."""


class Batches(Protocol):
    """Batches and the queue of their requests. A batch of another wallet is none."""

    async def make(self, batch: NewBatch, requests: list[NewRequest]) -> Nanos:
        """Hold all of its requests, or none; gives what the wallet has available then.

        Raises PaymentRequired (insufficient_credits; quota_exceeded), with `required` and `available` in details;
        RateLimited (batch_requests | abandoned | spend_5h | spend_1d | spend_7d); Unauthenticated.
        """

    async def find(self, wallet_id: str, batch_id: str) -> Batch | None: ...

    async def page(
        self, wallet_id: str, *, after: str | None, before: str | None, limit: int
    ) -> tuple[list[Batch], bool]:
        """Some of a wallet's batches, newest first, and whether there are more in that direction."""

    async def results(
        self, wallet_id: str, batch_id: str, *, after: int, limit: int
    ) -> list[tuple[int, str, RequestState, bytes | None]]:
        """Requests behind the `after`-th: number, custom id, state and result."""

    async def cancel(self, wallet_id: str, batch_id: str, at_ms: int) -> None:
        """What has not begun does not begin any more; `tidy` then gives back what it holds. Safe to repeat."""

    async def delete(self, wallet_id: str, batch_id: str, at_ms: int) -> bool:
        """Take an ended batch out of sight; False when it is not there or has not ended."""

    async def waiting(self, at_ms: int) -> list[tuple[str, str]]:
        """Wallet and id of batches of which a request may run now: the oldest of each wallet, then the second of each,
        and so on, so that none fills the list alone. None while this node may run nothing."""

    async def claim(self, wallet_id: str, batch_id: str, at_ms: int) -> Ticket | None:
        """Take a request to run it; None when no request of this batch may run now."""

    async def end(self, command: End) -> bool:
        """End a request: charge, result and counts at once. False when it is no longer ours to end. Raises NotReady,
        after which it may be asked again."""

    async def put_back(self, command: Again) -> bool:
        """Let a request be run again later. False when it is no longer ours."""

    async def tidy(self, at_ms: int) -> None:
        """One look at what has to happen without a caller: what the dead had claimed is taken back, what is canceled or
        too old is closed, what was not made to its end is undone."""

    async def forget(self, at_ms: int) -> None:
        """One look at results whose time is over, and at deleted batches: they are deleted from the disk."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: money moved from debit to credit, in nanodollars."""

    id: int
    reference: str
    kind: str
    debit_id: str
    credit_id: str
    amount: Nanos
    at_ms: int
    memo: str | None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of the audit and how many rows break it; clean books have zero everywhere."""

    rule: str
    meaning: str
    count: int
    examples: list[str]
    """At most five ids."""


class Office(Protocol):
    """What the operator does. Wallets are named by id or by name. Raises NotFound, Conflict or InvalidRequest."""

    async def wallet_create(self, *, wallet_id: str, name: str, floor: Nanos, at_ms: int) -> Wallet:
        """Open an empty wallet. Conflict when the name is taken."""

    async def wallet_find(self, id_or_name: str) -> Wallet: ...

    async def wallets(self) -> list[Wallet]: ...

    async def topup(self, wallet: str, amount: Nanos, *, note: str | None, reference: str, at_ms: int) -> Transfer:
        """Credit a wallet from the world. The same reference again returns the first transfer and moves nothing;
        with another amount or wallet it is a Conflict.
        """

    async def adjust(self, wallet: str, amount: Nanos, *, note: str, reference: str, at_ms: int) -> Transfer:
        """Correct a wallet, up or down (amount != 0), never below its floor (PaymentRequired)."""

    async def transfers(self, wallet: str, *, limit: int) -> list[Transfer]: ...

    async def key_create(self, key: Key, *, secret: str) -> Key:
        """Keep a new key by its keyed hash. `secret` is the key written out in full; it is not stored."""

    async def keys(self, wallet: str | None) -> list[Key]: ...

    async def key_find(self, key_id: str) -> Key: ...

    async def key_revoke(self, key_id: str, *, at_ms: int) -> Key:
        """From the next call on. Safe to repeat: the first time stands."""

    async def price_add(self, version: PriceVersion) -> PriceVersion:
        """Append a price version. Conflict when its id is taken with other figures."""

    async def operator_accounts(self) -> dict[str, int]:
        """The balance of each operator account: revenue, promo, world and the named losses."""

    async def audit(self) -> list[Finding]: ...
