"""The rules of a hold: what money affords, how a cost divides, and which names there are.

Method: plain arithmetic beside the rule, over any amounts.
"""

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from faregate.core.ledger import OPERATOR_ACCOUNTS, Loss, Reserve, Wallet, affordable, split, unused
from faregate.core.money import Nanos
from faregate.wire.usage import Usage

AMOUNTS = st.integers(0, 10**15)
TOKENS = st.integers(0, 100_000)


def command(input_ceiling: int, output_price: int, max_tokens: int, min_tokens: int) -> Reserve:
    return Reserve(
        charge_id="msg_1", wallet_id="wal_1", key_id="k", request_id="req_1", model="m", price_id="p", body_sha256=b"",
        idempotency_key=None, input_ceiling=Nanos(input_ceiling), output_price=Nanos(output_price),
        max_tokens=max_tokens, min_tokens=min_tokens, estimated=Nanos(0), at_ms=0,
    )  # fmt: skip


@given(AMOUNTS, st.integers(1, 10**8), TOKENS, TOKENS, st.integers(-(10**15), 10**16))
def test_what_is_affordable_fits_and_one_token_more_would_not(
    ceiling: int, price: int, max_tokens: int, min_tokens: int, available: int
) -> None:
    assume(min_tokens <= max_tokens)
    tokens = affordable(command(ceiling, price, max_tokens, min_tokens), available)

    if tokens is None:
        assert ceiling + min_tokens * price > available
    else:
        assert min_tokens <= tokens <= max_tokens
        assert ceiling + tokens * price <= available
        assert tokens == max_tokens or ceiling + (tokens + 1) * price > available


@given(AMOUNTS, TOKENS, st.integers(-(10**15), 10**16))
def test_output_that_costs_nothing_is_never_clamped(ceiling: int, max_tokens: int, available: int) -> None:
    tokens = affordable(command(ceiling, 0, max_tokens, max_tokens), available)

    assert tokens == (max_tokens if available >= ceiling else None)


@given(AMOUNTS, AMOUNTS)
def test_a_cost_divides_into_what_the_hold_covers_and_the_shortfall(cost: int, held: int) -> None:
    charged, shortfall = split(cost, held)

    assert charged + shortfall == cost
    assert 0 <= charged <= held
    assert shortfall == 0 or charged == held


@given(AMOUNTS, AMOUNTS)
def test_available_is_what_is_posted_less_what_is_held(posted: int, held: int) -> None:
    wallet = Wallet(id="w", name="w", posted=Nanos(posted), held=Nanos(held), floor=Nanos(0), created_at_ms=0)

    assert wallet.available == posted - held


def test_every_loss_of_the_operator_has_an_account_of_its_own_name() -> None:
    assert {loss.value for loss in Loss} < set(OPERATOR_ACCOUNTS)
    assert len(set(OPERATOR_ACCOUNTS)) == len(OPERATOR_ACCOUNTS)


def test_what_a_call_did_not_use_is_what_it_took_less_what_was_used() -> None:
    call = msgspec.structs.replace(command(0, 1, 100, 0), input_tokens=50, output_tokens=40, input_tokens_max=1_000)

    assert unused(call, Usage(input=10, cache_read=5, cache_write_1h=15, output=7)) == (20, 33)
    assert unused(call, Usage(input=90, output=60)) == (-40, -20)
    assert unused(call, Usage()) == (50, 40)
    # What upstream counts beyond what the call can come to is nonsense, and would keep the key waiting for days.
    assert unused(call, Usage(input=10**9, cache_read=10**9, output=10**9)) == (50 - 1_000, 40 - 100)
