"""The estimate: what a call will probably use, learnt from the calls before it.

Three things are remembered, all bounded. Of each key and model: how many tokens each kind of content comes to
(`weights`), and how long the answers of each of its tasks are. Of each wallet: the boundaries of prompts it has sent,
by digest, with their true tokens and what of them is still warm in upstream's cache. So the growing prefix of a loop
is counted, not guessed, and only what is new in it is measured and weighed.

    guess    tokens at the last known boundary + weights × what is new         known: settled before, to the token
    learn    what is new came to (total - known) tokens                        unknown: the head's own, in doubt

Tools and system are the same from call to call, and their true tokens are never told: a head has an estimate of its own
with a variance, and each surprise is divided between it and the weights by how much each is in doubt (record 17).

An estimate is never a price and never a bound: the ceiling of `quote` is both. Floats are at home here.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from faregate.core.prompt import Part, Prompt, measure
from faregate.core.typical import Typical
from faregate.core.weights import SURPRISE, Weights
from faregate.wire.usage import Usage

KEYS_MAX: Final = 10_000
PROMPTS_MAX: Final = 50_000
TASKS_MAX: Final = 8
"""Of a key: a task is a cap and a head, which callers write once for each thing they do."""
TASK_CALLS_MIN: Final = 3
"""Until a task has so many, the key's own answers say more."""

LEARNT_CALLS: Final = 5
"""After so many the weights of a key are some per cent off; before, they may be a fifth."""

WARM_MS: Final = {"5m": 300_000, "1h": 3_600_000}
HEAD_DOUBT: Final = 0.3
"""How far, of its tokens, a head may be from what its content was weighed as..."""
BARE_TOKENS: Final = 10.0
"""...beside these, which every template adds."""
HEAD_FADE: Final = 0.002
"""How far a head may drift from call to call."""
MARK_DOUBT: Final = 9.0
"""The variance of tokens at a mark: what upstream cached up to it, which may be a few of the template off."""
ALIKE: Final = 0.1
"""What upstream read is of the boundary that we thought of when it is not further off than this."""


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    usage: Usage
    known: bool = False
    """Whether the prompt begins with one whose tokens upstream has told."""
    learnt: bool = False
    """Whether the key has made calls enough for it to be more than a first guess."""
    memo: "_Memo | None" = None
    """For `learn`: numbers and digests, and nothing that was said."""

    @property
    def input_tokens(self) -> int:
        """All input, cached or not."""
        return self.usage.input_total


class _Memo(msgspec.Struct, frozen=True, kw_only=True):
    known: bool
    base: bytes
    """The digest of the boundary from which was counted on."""
    base_tokens: float
    base_doubt: float
    counts: list[float]
    """What is new since then."""
    fresh: float
    task: tuple[int, bytes]
    end: bytes
    marks: list[tuple[bytes, str]]
    read_at: bytes | None
    read: float
    covered: float
    """Tokens up to the last mark, as guessed."""
    tokens_max: int | None


class _Boundary(msgspec.Struct):
    tokens: float | None = None
    """All input up to here."""
    doubt: float = 0.0
    """Their variance; 0 where upstream told them."""
    cached: int = 0
    """What upstream's cache has up to here, where it told; 0 where it did not."""
    warm_until_ms: int = 0
    ttl: str = "5m"


class _Key:
    __slots__ = ("automatic", "tasks", "typical", "uncached", "weights")

    def __init__(self) -> None:
        self.weights = Weights()
        self.typical = Typical()
        self.tasks: OrderedDict[tuple[int, bytes], Typical] = OrderedDict()
        self.uncached = 0.0
        """Up to so many tokens upstream has not cached at a mark: each model has a least."""
        self.automatic: dict[bool, float] = {}
        """By whether a prefix was known: how many of its tokens upstream last did not read from a cache that it keeps
        unasked; nothing where it read less than half of them."""


_NEW: Final = _Key()


class Estimator:
    """What this process has learnt. Starting again starts anew, which costs a few wide estimates and no money."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], _Key] = OrderedDict()
        self._boundaries: OrderedDict[bytes, _Boundary] = OrderedDict()

    def guess(
        self, key_id: str, model: str, prompt: Prompt, *, max_tokens: int, now_ms: int, tokens_max: int | None = None
    ) -> Guess:
        """Guess a call's usage.

        `tokens_max` is what the input can come to at most: what was learnt never makes a guess that cannot be true.
        """
        key = self._keys.get((key_id, model), _NEW)
        parts, head = prompt.parts, prompt.head
        start, base = self._base(parts, head, key.weights)
        tokens = base.tokens or 0.0
        marks = [index for index, part in enumerate(parts) if part.ttl is not None]
        counts, at = [], {start: tokens}
        for stop in [*(index for index in marks if start < index < len(parts) - 1), len(parts) - 1]:
            if stop > max(at):
                counts.append(measure(parts[max(at) + 1 : stop + 1]))
                at[stop] = at[max(at)] + key.weights.expect(counts[-1])
        total = at[len(parts) - 1]
        fresh = total - tokens
        task = (max_tokens, parts[head].digest)
        typical = key.tasks.get(task)
        if typical is None or typical.calls < TASK_CALLS_MIN:
            typical = key.typical
        output = typical.output(max_tokens, total)
        for index in marks:
            known = self._boundaries.get(parts[index].digest)
            if known is not None and known.cached:
                at[index] = known.cached
            elif index not in at:
                at[index] = max(0.0, tokens - key.weights.expect(measure(parts[index + 1 : start + 1])))
        whole = round(total) if tokens_max is None else min(round(total), tokens_max)
        read_at, read = self._read(parts, marks, at, now_ms)
        ends = [(parts[index].ttl or "5m", at[index]) for index in marks]
        usage = _divide(key, whole, ends, read=read, base=tokens, known=start > head, output=output)
        memo = _Memo(
            known=start > head, base=parts[start].digest, base_tokens=tokens, base_doubt=base.doubt, fresh=fresh,
            task=task,
            counts=counts[0] if len(counts) == 1 else [sum(each) for each in zip(*counts, strict=True)],
            end=parts[-1].digest, marks=[(parts[index].digest, parts[index].ttl or "5m") for index in marks],
            read_at=read_at, read=read, covered=at[marks[-1]] if marks else 0.0, tokens_max=tokens_max,
        )  # fmt: skip
        learnt = start > head or key.typical.calls >= LEARNT_CALLS
        return Guess(usage=usage, known=start > head, learnt=learnt, memo=memo)

    def learn(self, key_id: str, model: str, guess: Guess, *, usage: Usage, finished: bool, now_ms: int) -> None:
        """Take in what upstream said a call used. A cut answer (`finished` false) says nothing of typical output."""
        memo = guess.memo
        if memo is None:
            return
        key = self._keys.get((key_id, model)) or self._keys.setdefault((key_id, model), _Key())
        _bound(self._keys, (key_id, model), KEYS_MAX)
        total = usage.input_total
        if finished:
            task = key.tasks.get(memo.task) or key.tasks.setdefault(memo.task, Typical())
            _bound(key.tasks, memo.task, TASKS_MAX)
            for typical in (task, key.typical):
                typical.learn(usage.output, memo.task[0], total)
        # A count above what the bytes can come to says nothing of them: upstream's count was wrong.
        if total and (memo.tokens_max is None or total <= memo.tokens_max):
            self._weigh(key.weights, memo, total)
            end = self._boundary(memo.end)
            end.tokens, end.doubt = float(total), 0.0
            self._cached(key, memo, usage, now_ms)

    def _base(self, parts: Sequence[Part], head: int, weights: Weights) -> tuple[int, _Boundary]:
        """The last boundary whose tokens are known, or else the head, as its content is weighed."""
        for index in range(len(parts) - 1, head - 1, -1):
            known = self._boundaries.get(parts[index].digest)
            if known is not None and known.tokens is not None:
                return index, known
        tokens = BARE_TOKENS + weights.expect(measure(parts[: head + 1]))
        return head, _Boundary(tokens=tokens, doubt=(HEAD_DOUBT * tokens) ** 2 + BARE_TOKENS**2)

    def _weigh(self, weights: Weights, memo: _Memo, total: int) -> None:
        """Divide what the guess was off by between the weights and the head."""
        base, doubt = self._boundaries.get(memo.base), memo.base_doubt
        tokens = memo.base_tokens
        if base is not None and base.tokens is not None:
            tokens, doubt = base.tokens, base.doubt
        fresh = total - tokens
        if not any(memo.counts) or (fresh <= 0 and not doubt):
            return
        surprise, variance = weights.learn(memo.counts, fresh, doubt=doubt)
        if doubt:
            base = self._boundary(memo.base)
            base.tokens = max(0.0, tokens + surprise * doubt / variance)
            base.doubt = doubt - doubt * doubt / variance + (HEAD_FADE * base.tokens) ** 2
            if surprise * surprise >= SURPRISE**2 * variance * 0.99:  # It was cut: what is so far off is not so sure.
                base.doubt = max(base.doubt, surprise * surprise)

    def _read(
        self, parts: Sequence[Part], marks: Sequence[int], at: dict[int, float], now_ms: int
    ) -> tuple[bytes | None, float]:
        """The longest prefix up to the last mark that is warm: where it ends, and its tokens."""
        for index in range(marks[-1] if marks else -1, -1, -1):
            known = self._boundaries.get(parts[index].digest)
            if known is not None and known.warm_until_ms > now_ms:
                return parts[index].digest, float(known.cached or at.get(index, known.tokens or 0.0))
        return None, 0.0

    def _cached(self, key: _Key, memo: _Memo, usage: Usage, now_ms: int) -> None:
        """Take in what upstream's cache gave and took."""
        written = usage.cache_write_5m + usage.cache_write_1h
        cached = usage.cache_read + written
        if written:
            key.uncached = min(key.uncached, cached - 1.0)
        elif memo.marks and not memo.read:
            # What is read and was never written is cached unasked, whatever is marked.
            key.uncached = math.inf if cached else max(key.uncached, memo.covered)
        if memo.covered <= key.uncached:
            key.automatic.pop(memo.known, None)
            if cached * 2 > memo.base_tokens:
                key.automatic[memo.known] = max(0.0, memo.base_tokens - cached)
        if memo.read_at is not None:
            read = self._boundary(memo.read_at)
            if abs(usage.cache_read - memo.read) <= ALIKE * memo.read:
                read.cached = usage.cache_read
                read.warm_until_ms = now_ms + WARM_MS[read.ttl]
            else:
                read.warm_until_ms = 0
        if not memo.marks or not cached or memo.covered <= key.uncached:
            return
        for digest, ttl in memo.marks:
            mark = self._boundary(digest)
            mark.ttl, mark.warm_until_ms = ttl, now_ms + WARM_MS[ttl]
        hours = [digest for digest, ttl in memo.marks if ttl == "1h"]
        if hours and usage.cache_write_1h:
            self._told(hours[-1], usage.cache_read + usage.cache_write_1h)
        self._told(memo.marks[-1][0], cached)

    def _told(self, digest: bytes, cached: int) -> None:
        """Upstream has told what it caches up to a mark."""
        mark = self._boundary(digest)
        mark.cached = cached
        if mark.tokens is None or mark.doubt > MARK_DOUBT:
            mark.tokens, mark.doubt = float(cached), MARK_DOUBT

    def _boundary(self, digest: bytes) -> _Boundary:
        found = self._boundaries.get(digest) or self._boundaries.setdefault(digest, _Boundary())
        _bound(self._boundaries, digest, PROMPTS_MAX)
        return found


def _divide(
    key: _Key, total: int, marks: Sequence[tuple[str, float]], *, read: float, base: float, known: bool, output: int
) -> Usage:
    """Divide the input into what is read from the cache, written to it at each mark, and neither."""
    if not marks or (marks[-1][1] <= key.uncached and not read):
        automatic = min(total, round(max(0.0, base - key.automatic.get(known, base))))
        return Usage(input=total - automatic, cache_read=automatic, output=output)
    read_tokens = done = min(total, round(read))
    written = {"5m": 0, "1h": 0}
    for ttl, tokens in marks:
        upto = min(total, round(tokens))
        written[ttl] += max(0, upto - done)
        done = max(done, upto)
    return Usage(
        input=total - done, cache_read=read_tokens, cache_write_5m=written["5m"], cache_write_1h=written["1h"],
        output=output,
    )  # fmt: skip


def _bound(table: OrderedDict[Any, Any], newest: Any, most: int) -> None:
    table.move_to_end(newest)
    while len(table) > most:
        table.popitem(last=False)
