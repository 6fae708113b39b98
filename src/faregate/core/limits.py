"""Rates: requests, input tokens and output tokens a minute, and calls at once, for each key that has such limits.

Token buckets: a minute's worth fits in, and it refills evenly. What a call will use is taken when it is let in, by
estimate, and corrected when it ends; a bucket may go below empty by one call's error, never by a second call. Money is
not here: quotas and spend windows are kept by the ledger.

    ticket = limits.take(key, ...)      or RateLimited, with the seconds to wait
    ticket.close(used...)               always, once: what was not used goes back
"""

import datetime
import math
from collections import OrderedDict
from typing import Final

from faregate.core.access import Key
from faregate.core.errors import SLEEP_S_MAX, RateLimited

MINUTE_MS: Final = 60_000
KEYS_MAX: Final = 100_000
"""Idle keys are forgotten beyond this many; a forgotten key's buckets are full again, as they would be by then."""

RATES: Final = ("requests", "input_tokens", "output_tokens")


class _Bucket:
    __slots__ = ("level", "limit", "seen_ms")

    def __init__(self, limit: int, now_ms: int) -> None:
        self.limit = limit
        self.level = float(limit)
        self.seen_ms = now_ms

    def refill(self, now_ms: int) -> None:
        passed = max(0, now_ms - self.seen_ms)
        self.level = min(float(self.limit), self.level + self.limit * passed / MINUTE_MS)
        self.seen_ms = now_ms

    def wait_s(self, amount: float) -> float:
        """Seconds until this much is in it; a call larger than a whole minute's worth waits for a full bucket."""
        missing = min(amount, self.limit) - self.level
        return max(0.0, missing * 60 / self.limit)


class _Meters:
    __slots__ = ("active", "buckets")

    def __init__(self) -> None:
        self.active = 0
        self.buckets: dict[str, _Bucket] = {}


class Ticket:
    """A call that was let in. Close it when the call ends, however it ends."""

    __slots__ = ("_meters", "_open", "_taken")

    def __init__(self, meters: _Meters, taken: dict[str, int]) -> None:
        self._meters = meters
        self._taken = taken
        self._open = True

    def close(self, *, input_tokens: int, output_tokens: int) -> None:
        """Put back what was taken and not used, or take what was used beyond it. The request itself stays counted."""
        if not self._open:
            return
        self._open = False
        self._meters.active -= 1
        for name, used in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
            bucket = self._meters.buckets.get(name)
            if bucket is not None:
                bucket.level = min(float(bucket.limit), bucket.level + self._taken[name] - used)


class Limits:
    """The rates of every key of this process."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, _Meters] = OrderedDict()

    def take(self, key: Key, *, input_tokens: int, output_tokens: int, now_ms: int) -> Ticket | None:
        """Let a call in, or raise RateLimited naming the limit. None for a key without any."""
        limits = {
            "requests": key.requests_per_minute,
            "input_tokens": key.input_tokens_per_minute,
            "output_tokens": key.output_tokens_per_minute,
        }
        if key.concurrency is None and not any(limits.values()):
            return None
        meters = self._meters(key.id)
        if key.concurrency is not None and meters.active >= key.concurrency:
            raise RateLimited(
                f"This key already has {meters.active} calls under way, and its limit is {key.concurrency}.",
                code="concurrency",
                retry_after_s=1,
                headers=self.headers(key, now_ms),
            )
        taken = {"requests": 1, "input_tokens": input_tokens, "output_tokens": output_tokens}
        buckets = {name: self._bucket(meters, name, limit, now_ms) for name, limit in limits.items() if limit}
        for name, bucket in buckets.items():
            if (wait_s := bucket.wait_s(taken[name])) > 0:
                raise RateLimited(
                    _sentence(name, bucket, taken[name], wait_s),
                    code=name,
                    retry_after_s=wait_s,
                    should_retry=wait_s <= SLEEP_S_MAX,
                    headers=self.headers(key, now_ms),
                )
        for name, bucket in buckets.items():
            bucket.level -= taken[name]
        meters.active += 1
        return Ticket(meters, taken)

    def headers(self, key: Key, now_ms: int) -> list[tuple[bytes, bytes]]:
        """`anthropic-ratelimit-*` of a key that has rates: limit, remaining, and when it is full again (RFC 3339)."""
        meters = self._keys.get(key.id)
        headers: list[tuple[bytes, bytes]] = []
        for name in RATES if meters is not None else ():
            bucket = meters.buckets.get(name) if meters is not None else None
            if bucket is None:
                continue
            bucket.refill(now_ms)
            head = b"anthropic-ratelimit-" + name.replace("_", "-").encode()
            full_ms = now_ms + int(bucket.wait_s(bucket.limit) * 1_000)
            reset = datetime.datetime.fromtimestamp(math.ceil(full_ms / 1_000), datetime.UTC)
            headers += [
                (head + b"-limit", b"%d" % bucket.limit),
                (head + b"-remaining", b"%d" % max(0, math.floor(bucket.level))),
                (head + b"-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
            ]
        return headers

    def _meters(self, key_id: str) -> _Meters:
        meters = self._keys.get(key_id)
        if meters is None:
            meters = self._keys[key_id] = _Meters()
            if len(self._keys) > KEYS_MAX and not next(iter(self._keys.values())).active:
                self._keys.popitem(last=False)
        self._keys.move_to_end(key_id)
        return meters

    @staticmethod
    def _bucket(meters: _Meters, name: str, limit: int, now_ms: int) -> _Bucket:
        bucket = meters.buckets.get(name)
        if bucket is None or bucket.limit != limit:
            bucket = meters.buckets[name] = _Bucket(limit, now_ms)
        bucket.refill(now_ms)
        return bucket


def _sentence(name: str, bucket: _Bucket, amount: int, wait_s: float) -> str:
    what = name.replace("_", " ")
    return (
        f"This key's limit is {bucket.limit} {what} a minute; {max(0, math.floor(bucket.level))} are left and this "
        f"call takes {amount}. Try again in {math.ceil(wait_s)} s."
    )
