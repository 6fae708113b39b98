"""A row of `charge` as the receipt that its caller may read."""

from collections.abc import Sequence
from typing import Any

import msgspec

from faregate.core.ledger import Basis, Outcome, Receipt, State, Tier
from faregate.core.shown import ReceiptView
from faregate.wire.usage import Usage


def receipt(row: Sequence[Any]) -> Receipt:
    """Read a row of RECEIPT_COLUMNS."""
    (id_, request_id, wallet_id, key_id, state, outcome, model, *counts, basis, price_id) = row[:14]
    held, charged, shortfall, attempts, created_at, settled_at, upstream, tier = row[14:]
    input_, output, cache_read, cache_write_5m, cache_write_1h = counts
    return Receipt(
        id=id_,
        request_id=request_id,
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
        upstream=upstream,
        tier=Tier(tier),
    )


def as_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as it stands in an error's details: as its caller may read it at any time."""
    shown: dict[str, Any] = msgspec.to_builtins(ReceiptView.of(receipt))
    return shown
