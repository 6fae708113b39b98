"""How fast a key may ride: requests, input tokens and output tokens a minute, calls at once, and what it may abandon.

A rate is a token bucket: a minute's worth fits in, and it refills evenly. What a call will use is taken when it is let
in, by estimate, and corrected when it ends, so a bucket may go below empty by a call's error. Quotas and spend windows
are not here: they are accounts of the ledger.

The rule: nothing is remembered here. The ledger keeps the buckets and hands them in, in the transaction that takes the
hold, so they hold across processes and restarts. A level is a whole number of 1/60,000 of a unit: what a millisecond
refills is then the limit itself, exactly.

    stand -> judge -> taken        in the ledger, when a call is let in
    given back, unseen             in the ledger, when it ends: a level above full is full when it is next looked at
    headers                        what the caller is told
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from faregate.core.errors import SLEEP_S_MAX, RateLimited
from faregate.core.money import show_credits

MINUTE_MS: Final = 60_000
"""Also the parts of a unit that a level is counted in."""

RATES: Final = ("requests", "input_tokens", "output_tokens")
"""The order in which they are judged and told."""

LIMIT_MAX: Final = 10**12
"""A higher limit is this one: nobody meets it, and levels stay far within 64 bits."""

SKEW_MS_MAX: Final = 300_000
"""How far apart two clocks of one gateway may be (Kerberos allows as much). Further back is a clock that was set."""

ABANDON_MS: Final = 3_600_000
"""The window of the abandon budget. It opens with the first loss in it, as a spend window with the first call."""

Headers = list[tuple[bytes, bytes]]


class Bucket(msgspec.Struct, frozen=True):
    """One rate of a key, as it stood at a time."""

    name: str
    limit: int
    """Units a minute."""
    level: int
    """In 1/60,000 of a unit; below 0 when more was used than was there."""
    seen_ms: int

    @property
    def remaining(self) -> int:
        """Whole units that can be taken."""
        return max(0, self.level // MINUTE_MS)

    def wait_ms(self, amount: int, now_ms: int) -> int:
        """Until so much is in it; a call larger than a whole minute's worth waits for a full bucket."""
        missing = min(amount, self.limit) * MINUTE_MS - self.level
        if missing <= 0:
            return 0
        return -(-missing // self.limit) + max(0, self.seen_ms - now_ms)


def stand(limits: Sequence[int | None], kept: Mapping[str, tuple[int, int]], now_ms: int) -> tuple[Bucket, ...]:
    """The buckets of a key as they stand now, of `limits` in the order of RATES.

    `kept` has (level, seen_ms) by name; one that is not in it is full.
    """
    buckets = []
    for name, asked in zip(RATES, limits, strict=True):
        if asked is not None:
            limit = min(asked, LIMIT_MAX)
            level, seen_ms = kept.get(name, (limit * MINUTE_MS, now_ms))
            buckets.append(refilled(Bucket(name, limit, level, seen_ms), now_ms))
    return tuple(buckets)


def refilled(bucket: Bucket, now_ms: int) -> Bucket:
    """The bucket at a later time. A clock that is behind refills nothing; one that was set back goes on from here."""
    passed = now_ms - bucket.seen_ms
    level = min(bucket.limit * MINUTE_MS, bucket.level + bucket.limit * max(0, passed))
    behind = -SKEW_MS_MAX <= passed < 0
    return Bucket(bucket.name, bucket.limit, level, bucket.seen_ms if behind else now_ms)


def judge(buckets: Sequence[Bucket], amounts: Mapping[str, int], now_ms: int) -> None:
    """Let a call pass that takes these amounts. Raises RateLimited for the first bucket that has too little."""
    for bucket in buckets:
        if wait_ms := bucket.wait_ms(amounts[bucket.name], now_ms):
            wait_s = _seconds(wait_ms)
            what = bucket.name.replace("_", " ")
            raise RateLimited(
                f"This key's limit is {bucket.limit} {what} a minute; {bucket.remaining} are left and this call takes "
                f"{amounts[bucket.name]}. Try again in {wait_s} s.",
                code=bucket.name,
                retry_after_s=wait_s,
                should_retry=wait_s <= SLEEP_S_MAX,
                headers=headers(buckets, now_ms),
            )


def judge_concurrency(limit: int | None, open_calls: int, buckets: Sequence[Bucket], now_ms: int) -> None:
    """Let one more call pass beside those that are open. Raises RateLimited."""
    if limit is not None and open_calls >= limit:
        raise RateLimited(
            f"This key already has {open_calls} calls under way, and its limit is {limit}.",
            code="concurrency",
            retry_after_s=1,
            headers=headers(buckets, now_ms),
        )


def taken(bucket: Bucket, amount: int) -> Bucket:
    """The bucket less what a call takes."""
    return Bucket(bucket.name, bucket.limit, bucket.level - amount * MINUTE_MS, bucket.seen_ms)


def headers(buckets: Sequence[Bucket], now_ms: int) -> Headers:
    """`anthropic-ratelimit-*` of a key that has rates: limit, remaining, and when it is full again (RFC 3339)."""
    said: Headers = []
    for bucket in buckets:
        now = refilled(bucket, now_ms)
        head = b"anthropic-ratelimit-" + now.name.replace("_", "-").encode()
        full_s = _seconds(now_ms + now.wait_ms(now.limit, now_ms))
        reset = datetime.datetime.fromtimestamp(full_s, datetime.UTC)
        said += [
            (head + b"-limit", b"%d" % now.limit),
            (head + b"-remaining", b"%d" % now.remaining),
            (head + b"-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
        ]
    return said


def in_window(since_ms: int, now_ms: int) -> bool:
    """Whether an abandon window that was opened at `since_ms` is still open. One from far ahead of the clock is not."""
    return -SKEW_MS_MAX <= now_ms - since_ms < ABANDON_MS


def judge_abandoned(budget: int, lost: int, since_ms: int, now_ms: int) -> None:
    """Let a key pass whose calls, left before their first event, have cost us less than the budget. Raises RateLimited.

    A budget of 0 is used up by the first loss: what a call will lose is not known before it is left.
    """
    if lost <= 0 or lost < budget or not in_window(since_ms, now_ms):
        return
    wait_s = _seconds(since_ms + ABANDON_MS - now_ms)
    raise RateLimited(
        "Calls with this key were hung up on before they could be billed. Within an hour they cost the gateway "
        f"{show_credits(lost)} credits, and {show_credits(budget)} are tolerated. That hour ends in {wait_s} s. Let "
        "calls come to their end, or stream and read the first event; the operator can raise limits.abandon_budget.",
        code="abandoned",
        details={"lost": show_credits(lost), "budget": show_credits(budget)},
        retry_after_s=wait_s,
        should_retry=False,
    )


def _seconds(milliseconds: int) -> int:
    """Rounded up: who comes a moment early is refused once more."""
    return -(-milliseconds // 1_000)
