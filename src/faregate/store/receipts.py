"""A row of `charge` as the receipt that its caller may read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from faregate.core.ledger import Basis, Outcome, Receipt, State
from faregate.core.money import show_credits
from faregate.wire.usage import Usage


def receipt(row: Sequence[Any]) -> Receipt:
    """Read a row of RECEIPT_COLUMNS."""
    (id_, wallet_id, key_id, state, outcome, model, *counts, basis, price_id) = row[:13]
    held, charged, shortfall, attempts, created_at, settled_at = row[13:]
    input_, output, cache_read, cache_write_5m, cache_write_1h = counts
    return Receipt(
        id=id_,
        wallet_id=wallet_id,
        key_id=key_id,
        state=State(state),
        outcome=None if outcome is None else Outcome(outcome),
        model=model,
        usage=Usage(
            input=input_,
            output=output,
            cache_read=cache_read,
            cache_write_5m=cache_write_5m,
            cache_write_1h=cache_write_1h,
        ),
        basis=Basis(basis),
        price_version=price_id,
        max=held,
        charged=charged,
        shortfall=shortfall,
        attempts=attempts,
        created_at_ms=created_at,
        settled_at_ms=settled_at,
    )


def as_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as it stands in an error's details: credits as decimal strings, times as RFC 3339."""
    return {
        "id": receipt.id,
        "state": receipt.state.value,
        "outcome": None if receipt.outcome is None else receipt.outcome.value,
        "model": receipt.model,
        "usage": msgspec.to_builtins(receipt.usage),
        "basis": receipt.basis.value,
        "price_version": receipt.price_version,
        "max": show_credits(receipt.max),
        "charged": show_credits(receipt.charged),
        "shortfall": show_credits(receipt.shortfall),
        "attempts": receipt.attempts,
        "created_at": _moment(receipt.created_at_ms),
        "settled_at": None if receipt.settled_at_ms is None else _moment(receipt.settled_at_ms),
    }


def _moment(ms: int) -> str:
    seconds, rest = divmod(ms, 1_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:03d}Z"
