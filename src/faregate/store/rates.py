"""A key's rates and its abandon budget: taken with the hold, given back with the end of the charge.

The rule: what is read here is judged and written in the same transaction, and nothing is kept in memory, so that any
number of processes on one database share each bucket. A key without such limits is asked nothing and writes nothing.

    read -> (judged by core.limits) -> take        beside a reserve
    give_back, abandon                             beside a settle or a release
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from faregate.core.ledger import Lose, Loss, Release, Reserve, Settle
from faregate.core.limits import MINUTE_MS, Bucket, in_window, judge, judge_concurrency, stand, taken
from faregate.core.money import NANOS_MAX
from faregate.store.database import Connection
from faregate.store.statements import (
    COUNT_OPEN,
    FIRST_ABANDONED,
    FIRST_RATE,
    GIVE_BACK,
    MORE_ABANDONED,
    READ_ABANDONED,
    READ_RATES,
    TAKE_RATE,
)

Kept = dict[str, tuple[int, int]]


class Rates(msgspec.Struct, frozen=True):
    """A key's buckets as they stand for a call, and as they are kept."""

    buckets: tuple[Bucket, ...] = ()
    kept: Kept = msgspec.field(default_factory=dict)


NONE: Final = Rates()


def judged(connection: Connection, command: Reserve, limits: Sequence[int | None]) -> Rates:
    """Read and judge a key's `limits`: its concurrency, then its rates in the order of RATES. Raises RateLimited."""
    concurrency, *rates = limits
    key, now_ms = (command.wallet_id, command.key_id), command.at_ms
    kept: Kept = {}
    if rates != [None, None, None]:
        kept = {name: (level, seen_at) for name, level, seen_at in connection.execute(READ_RATES, key)}
    buckets = stand(rates, kept, now_ms)
    if concurrency is not None:
        (open_calls,) = connection.execute(COUNT_OPEN, key).fetchone()
        judge_concurrency(concurrency, open_calls, buckets, now_ms)
    judge(buckets, _amounts(command), now_ms)
    return Rates(buckets, kept)


def take(connection: Connection, command: Reserve, rates: Rates) -> tuple[Bucket, ...]:
    """Take what the call will use from each bucket; they are returned as they are then."""
    amounts = _amounts(command)
    after = tuple(taken(bucket, amounts[bucket.name]) for bucket in rates.buckets)
    for bucket in after:
        row = (bucket.level, bucket.seen_ms, command.wallet_id, command.key_id, bucket.name)
        if bucket.name not in rates.kept:
            connection.execute(FIRST_RATE, row)
            continue
        # The wallet is ours for this transaction; were it not, two calls would take the same tokens.
        done = connection.execute(TAKE_RATE, (*row, *rates.kept[bucket.name]))
        assert done.rowcount == 1, "a rate changed between its reading and its writing"
    return after


def give_back(connection: Connection, command: Settle | Release) -> None:
    """Put back what was taken and not used, or take what was used beyond it. The request itself stays counted."""
    unused = (("input_tokens", command.unused_input_tokens), ("output_tokens", command.unused_output_tokens))
    for name, tokens in unused:
        if tokens:
            connection.execute(GIVE_BACK, (tokens * MINUTE_MS, command.wallet_id, command.key_id, name))


def abandon(connection: Connection, command: Settle | Release | Lose) -> None:
    """Count a loss by a hang-up against its key's budget, in the window that is open or in a fresh one."""
    if command.loss is not Loss.ABANDON or not command.loss_amount:
        return
    key, lost, since = (command.wallet_id, command.key_id), int(command.loss_amount), command.at_ms
    row = connection.execute(READ_ABANDONED, key).fetchone()
    if row is None:
        connection.execute(FIRST_ABANDONED, (lost, since, *key))
        return
    if in_window(row[1], since):
        lost, since = min(row[0] + lost, NANOS_MAX), row[1]
    connection.execute(MORE_ABANDONED, (lost, since, *key))


def _amounts(command: Reserve) -> dict[str, int]:
    return {"requests": 1, "input_tokens": command.input_tokens, "output_tokens": command.output_tokens}
