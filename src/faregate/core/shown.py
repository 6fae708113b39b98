"""What everyone is shown alike: amounts as credits, times of day, and a receipt.

The rule: a receipt is written out here and nowhere else, so that `GET /v1/receipts`, the usage lists and the receipt
in an error's details are one thing. Nanodollars and milliseconds stay inside.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from faregate.core.ledger import Receipt
from faregate.core.money import show_credits
from faregate.wire.usage import Usage

_CREDITS: Final[dict[str, Any]] = {"pattern": r"^-?\d{1,16}(\.\d{1,3})?$", "examples": ["12.5"]}

Credits = Annotated[str, Meta(description="Credits, at most three decimals.", extra_json_schema=_CREDITS)]
Time = Annotated[datetime, Meta(tz=True)]
"""RFC 3339, to the millisecond."""


class CacheCreationView(msgspec.Struct, frozen=True, kw_only=True):
    ephemeral_5m_input_tokens: int
    ephemeral_1h_input_tokens: int


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """Under the wire's own names, so that a receipt reads as the answer it is for."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    cache_creation: CacheCreationView

    @classmethod
    def of(cls, usage: Usage) -> "UsageView":
        return cls(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_input_tokens=usage.cache_read,
            cache_creation_input_tokens=usage.cache_write_5m + usage.cache_write_1h,
            cache_creation=CacheCreationView(
                ephemeral_5m_input_tokens=usage.cache_write_5m, ephemeral_1h_input_tokens=usage.cache_write_1h
            ),
        )


class ReceiptView(msgspec.Struct, frozen=True, kw_only=True):
    """What a call cost, and why."""

    id: str
    request_id: str
    wallet_id: str
    key_id: str
    state: str
    outcome: str | None
    model: str
    usage: UsageView
    basis: str
    price_version: str
    max: Credits
    charged: Credits
    shortfall: Credits
    attempts: int
    created_at: Time
    settled_at: Time | None
    service_tier: str
    """`batch` paid half of the price version."""

    @classmethod
    def of(cls, receipt: Receipt) -> "ReceiptView":
        return cls(
            id=receipt.id,
            request_id=receipt.request_id,
            wallet_id=receipt.wallet_id,
            key_id=receipt.key_id,
            state=receipt.state.value,
            outcome=None if receipt.outcome is None else receipt.outcome.value,
            model=receipt.model,
            usage=UsageView.of(receipt.usage),
            basis=receipt.basis.value,
            price_version=receipt.price_version,
            max=show_credits(receipt.max),
            charged=show_credits(receipt.charged),
            shortfall=show_credits(receipt.shortfall),
            attempts=receipt.attempts,
            created_at=moment(receipt.created_at_ms),
            settled_at=None if receipt.settled_at_ms is None else moment(receipt.settled_at_ms),
            service_tier=receipt.tier.value,
        )


def moment(ms: int) -> datetime:
    """Unix milliseconds as a time of day in UTC, to the millisecond."""
    seconds, rest = divmod(ms, 1_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1_000)
