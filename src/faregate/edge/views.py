"""What the admin API gives: a struct for each answer, from which the OpenAPI document is made too.

The rule: amounts are credit strings and times are RFC 3339, to the millisecond; nanodollars stay inside.
"""

from typing import Any

import msgspec

from faregate.core.access import Key
from faregate.core.ledger import Receipt, Wallet
from faregate.core.money import Nanos, show_credits
from faregate.core.pricing import PriceVersion, usd_per_mtok
from faregate.core.shown import Credits, ReceiptView, Time, moment
from faregate.edge.forms import Usd
from faregate.store.port import Finding, Transfer


class WalletView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    balance: Credits
    held: Credits
    available: Credits
    floor: Credits
    created_at: Time

    @classmethod
    def of(cls, wallet: Wallet) -> "WalletView":
        return cls(
            id=wallet.id,
            name=wallet.name,
            balance=show_credits(wallet.posted),
            held=show_credits(wallet.held),
            available=show_credits(wallet.available),
            floor=show_credits(wallet.floor),
            created_at=moment(wallet.created_at_ms),
        )


class TransferView(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    reference: str
    kind: str
    debit: str
    credit: str
    amount: Credits
    at: Time
    note: str | None

    @classmethod
    def of(cls, transfer: Transfer) -> "TransferView":
        return cls(
            id=transfer.id,
            reference=transfer.reference,
            kind=transfer.kind,
            debit=transfer.debit_id,
            credit=transfer.credit_id,
            amount=show_credits(transfer.amount),
            at=moment(transfer.at_ms),
            note=transfer.memo,
        )


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    wallet_id: str
    name: str
    models: tuple[str, ...]
    allow_ips: tuple[str, ...]
    deny_ips: tuple[str, ...]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    quota: Credits | None
    spend_5h: Credits | None
    spend_1d: Credits | None
    spend_7d: Credits | None
    requests_per_minute: int | None
    input_tokens_per_minute: int | None
    output_tokens_per_minute: int | None
    concurrency: int | None

    @classmethod
    def of(cls, key: Key) -> "KeyView":
        return cls(**_key_fields(key))


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key: the only answer that ever shows it written out."""

    key: str
    id: str
    details: KeyView


class PriceView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    model: str
    valid_from: Time
    input: Usd
    output: Usd
    cache_write_5m: Usd
    cache_write_1h: Usd
    cache_read: Usd

    @classmethod
    def of(cls, version: PriceVersion) -> "PriceView":
        return cls(
            id=version.id,
            model=version.model,
            valid_from=moment(version.valid_from_ms),
            input=usd_per_mtok(version.input),
            output=usd_per_mtok(version.output),
            cache_write_5m=usd_per_mtok(version.cache_write_5m),
            cache_write_1h=usd_per_mtok(version.cache_write_1h),
            cache_read=usd_per_mtok(version.cache_read),
        )


class WalletList(msgspec.Struct, frozen=True):
    wallets: list[WalletView]


class TransferList(msgspec.Struct, frozen=True):
    transfers: list[TransferView]


class KeyList(msgspec.Struct, frozen=True):
    keys: list[KeyView]


class PriceList(msgspec.Struct, frozen=True):
    prices: list[PriceView]


class CallView(ReceiptView, frozen=True, kw_only=True):
    """A receipt with what only the operator is shown."""

    upstream: str | None
    """The one that answered."""
    cost: Credits | None
    """What its usage cost at this upstream; None where no cost is configured."""
    margin: Credits | None
    """What was charged less that cost. What attempts that did not answer used is not in it, but in `error_loss`."""

    @classmethod
    def with_cost(cls, receipt: Receipt, cost: Nanos | None) -> "CallView":
        shown = ReceiptView.of(receipt)
        return cls(
            **{name: getattr(shown, name) for name in ReceiptView.__struct_fields__},
            upstream=receipt.upstream,
            cost=None if cost is None else show_credits(cost),
            margin=None if cost is None else show_credits(receipt.charged - cost),
        )


class UsagePage(msgspec.Struct, frozen=True):
    """Newest first."""

    calls: list[CallView]
    next: str | None
    """Ask again with this as `before`; None on the last page."""


class AccountView(msgspec.Struct, frozen=True):
    id: str
    balance: Credits


class AccountList(msgspec.Struct, frozen=True):
    accounts: list[AccountView]


class AuditView(msgspec.Struct, frozen=True):
    clean: bool
    findings: list[Finding]


def _key_fields(key: Key) -> dict[str, Any]:
    fields = {name: getattr(key, name) for name in KeyView.__struct_fields__ if hasattr(key, name)}
    for name in ("quota", "spend_5h", "spend_1d", "spend_7d"):
        fields[name] = None if fields[name] is None else show_credits(fields[name])
    for name in ("created_at", "expires_at", "revoked_at"):
        ms = getattr(key, f"{name}_ms")
        fields[name] = None if ms is None else moment(ms)
    return fields
