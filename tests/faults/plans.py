"""What the callers will ask and what upstream will answer, drawn from a seed.

One rule: a plan knows everything beforehand: the body to the byte, each answer to it, and the usage that it reports.

    Plans(seed).next() -> Plan      the marker in its prompt is the one thing that both sides know of it
"""

import hashlib
import random
import re
from typing import Any, NamedTuple

import msgspec

from faregate.upstreams.script import End, Play, error_frame, events, failure, frames_of, plain, stream
from tests.faults.books import Usage

MODEL = "claude-haiku-4-5"
MARKER = re.compile(rb"call-\d+-\d+")
PAD = "the gate opens when the fare is held " * 40
"""Enough of a prompt that what upstream reports for it is mostly below what was held for it."""


class Plan(NamedTuple):
    marker: str
    body: bytes
    usage: Usage
    """What upstream reports when it finishes."""
    plays: tuple[Play, ...]
    """Its answer to each attempt; the last one again, when there are more."""
    whole: int
    """Which of them is a whole answer; -1 for none."""
    leave_after: int | None
    """Events after which the caller hangs up; None when it stays."""
    idempotency_key: str | None

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.body).digest()


class Plans:
    """Plans, one after another. The same seed gives the same ones."""

    def __init__(self, seed: int, *, slow: float = 1.0) -> None:
        """`slow` stretches every pause of upstream's."""
        self._chance = random.Random(seed)
        self._seed = seed
        self._slow = slow
        self._count = 0

    def next(self) -> Plan:
        chance, streamed = self._chance, self._chance.random() < 0.75
        self._count += 1
        marker = f"call-{self._seed}-{self._count}"
        usage, output = self._usage(), chance.randint(1, 60)
        usage["output"] = output
        plays, whole = self._plays(message_of(marker, usage), streamed)
        leaves = chance.random() < 0.12
        return Plan(
            marker=marker,
            body=body_of(marker, streamed, chance.randint(60, 400)),
            usage=usage,
            plays=plays,
            whole=whole,
            leave_after=chance.randint(0, 12) if leaves else None,
            idempotency_key=marker if chance.random() < 0.4 else None,
        )

    def _usage(self) -> Usage:
        chance = self._chance
        usage = {"input": chance.randint(1, 900), "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0}
        if chance.random() < 0.3:
            usage |= {name: chance.randint(0, 300) for name in ("cache_read", "cache_write_5m", "cache_write_1h")}
        return usage

    def _plays(self, message: dict[str, Any], streamed: bool) -> tuple[tuple[Play, ...], int]:  # noqa: FBT001
        chance = self._chance
        head_ms, gap_ms = chance.choice([0, 5, 60]) * self._slow, chance.choice([0, 2, 10, 40]) * self._slow
        deltas = chance.randint(2, 16)
        if streamed:
            good = stream(message, deltas=deltas, gap_ms=gap_ms, head_delay_ms=head_ms)
        else:
            good = plain(message, head_delay_ms=head_ms + deltas * gap_ms)
        fate = chance.random()
        if fate < 0.80:
            return (good,), 0
        if fate < 0.88:
            return (failure(529, "overloaded_error", "Overloaded", retry_after="0"), good), 1
        if fate < 0.92 or not streamed:
            return (failure(400, "invalid_request_error", "messages: not today"),), -1
        frames = frames_of(message, deltas)
        # Never behind message_stop: a short message has fewer frames than deltas were asked for.
        after = chance.randint(1, len(frames) - 2)
        if fate < 0.95:
            return (events([*frames[: after + 1], error_frame()], gap_ms=gap_ms),), -1
        if fate < 0.97:
            return (events(frames[:-1], gap_ms=gap_ms),), -1
        ending = chance.choice([End.CUT, End.RESET, End.HALF_CHUNK])
        return (events(frames, gap_ms=gap_ms, ending=ending, ending_after=after + 1),), -1


def body_of(marker: str, streamed: bool, max_tokens: int) -> bytes:  # noqa: FBT001
    """A body as the gateway writes it again, so that its digest is known here too."""
    content = f"{marker} {PAD}"
    messages = [{"role": "user", "content": content}]
    return msgspec.json.encode({"model": MODEL, "max_tokens": max_tokens, "stream": streamed, "messages": messages})


def message_of(marker: str, usage: Usage) -> dict[str, Any]:
    """What upstream answers it with."""
    words = " ".join(["ride"] * usage["output"])
    return {
        "id": f"msg_{marker}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": words}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage["input"],
            "cache_read_input_tokens": usage["cache_read"],
            "cache_creation_input_tokens": usage["cache_write_5m"] + usage["cache_write_1h"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": usage["cache_write_5m"],
                "ephemeral_1h_input_tokens": usage["cache_write_1h"],
            },
            "output_tokens": usage["output"],
        },
    }
