"""What the simulated upstream plays: one answer to one attempt, drawn from a seed, with its faults written into it.

The rule: a play is data, and it says of itself what is true of it. Where its end lies, which counts it reports and by
which byte, and whether it must fail: the judge reads that, and never the gateway's own opinion.

    play(chance, stream=True) -> Play      pieces with pauses, an ending, and what is true of them
"""

import json
import random
from typing import Any, Final, NamedTuple

from faregate.upstreams.port import FaultKind

COUNTS_MAX: Final = 1_000_000_000
"""The contract's bound: what is above it is no count of tokens."""

WORDS: Final = ("the ", "gate ", "opens ", "when ", "a ", "fare ", "is ", "held: ", "日本 ", "é\\n", "🚆 ")
HUGE: Final = b"x" * 10_000_000
FIRST_BYTE_S, IDLE_S, TOTAL_S = 60.0, 120.0, 600.0
"""An upstream's deadlines, as its transport keeps them."""

NONSENSE: Final[tuple[Any, ...]] = (None, -1, -7, 1.5, "12", 10**18, True, [], {"a": 1})


class Report(NamedTuple):
    """Counts that were sent, and the byte of the body by which they had been."""

    by: int
    usage: Any


class Play(NamedTuple):
    """One answer."""

    head_s: float
    fault: FaultKind | None
    """In place of a head."""
    status: int
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]]
    """A pause, then bytes."""
    ending: FaultKind | None
    """After the last piece; None is a clean end."""
    ending_s: float
    whole_by: int | None
    """The byte by which a good answer is whole; None where it never is, or must fail before."""
    reports: tuple[Report, ...]
    endless: bool = False
    """Whether its last piece comes again and again, until a deadline."""
    bad: bool = False
    """Whether it has nonsense in it that a gateway may take or leave."""


def play(chance: random.Random, *, stream: bool) -> Play:
    """The answer to one attempt."""
    roll = chance.random()
    if roll < 0.05:
        return _no_head(chance)
    if roll < 0.13:
        return _status(chance)
    return _stream(chance) if stream else _plain(chance)


def _no_head(chance: random.Random) -> Play:
    kind = chance.choice((FaultKind.CONNECT, FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.PROTOCOL))
    wait_s = FIRST_BYTE_S if kind is FaultKind.TIMEOUT else chance.random() * 0.5
    return Play(wait_s, kind, 0, {}, [], None, 0.0, None, ())


STATUSES: Final = (
    (529, "overloaded_error"), (529, "overloaded_error"), (429, "rate_limit_error"), (500, "api_error"),
    (503, "api_error"), (400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"),
    (408, "timeout_error"), (413, "request_too_large"), (302, "moved"), (204, "nothing"),
)  # fmt: skip


def _status(chance: random.Random) -> Play:
    status, kind = chance.choice(STATUSES)
    headers = {"content-type": "application/json"}
    if status in (429, 529, 503) and chance.random() < 0.6:
        headers["retry-after"] = chance.choice(("0", "1", "2.5", "40", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"))
    body = json.dumps({"type": "error", "error": {"type": kind, "message": f"scripted {status}"}}).encode()
    body = chance.choice((body, body, body, body[:-9], b"<html>", b"\xff\xfe", b""))
    cut = FaultKind.RESET if chance.random() < 0.05 else None
    return Play(chance.random(), None, status, headers, _cut(chance, body), cut, 0.0, None, ())


def _usage(chance: random.Random) -> dict[str, Any]:
    usage: dict[str, Any] = {"input_tokens": chance.randrange(1, 400), "output_tokens": chance.randrange(1, 4)}
    if chance.random() < 0.3:
        short, long = chance.randrange(0, 40), chance.choice((0, 0, 30))
        usage["cache_creation_input_tokens"] = short + long
        usage["cache_read_input_tokens"] = chance.randrange(0, 100)
        if chance.random() < 0.7:
            usage["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    return usage


def _spoil(chance: random.Random, usage: dict[str, Any]) -> Any:
    """Counts that are none."""
    roll = chance.random()
    if roll < 0.15:
        return chance.choice((None, [], "usage", 3))
    name = chance.choice(("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    if roll < 0.3:
        return {key: value for key, value in usage.items() if key != name}
    if roll < 0.4:
        return {**usage, name: 0}
    if roll < 0.55:
        return {**usage, name: chance.randrange(100_000, COUNTS_MAX)}
    if roll < 0.65:
        return {**usage, "cache_creation": {"ephemeral_5m_input_tokens": 10**6, "ephemeral_1h_input_tokens": 10**6}}
    return {**usage, name: chance.choice(NONSENSE)}


def _plain(chance: random.Random) -> Play:
    usage: Any = {**_usage(chance), "output_tokens": chance.randrange(0, 90)}
    bad = chance.random() < 0.1
    if bad:
        usage = _spoil(chance, usage)
    text = "".join(chance.choices(("the ", "gate ", "opens ", "日本 ", "🚆"), k=chance.randrange(1, 20)))
    message = {
        "id": "msg_upstream", "type": "message", "role": "assistant", "model": "claude", "usage": usage,
        "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
    }  # fmt: skip
    body = json.dumps(message, ensure_ascii=False).encode()
    roll = chance.random()
    pieces, ending, whole_by = _cut(chance, body), None, len(body)
    if roll < 0.03:
        broken = chance.choice((body[:-3], b"[1,2]", b"{}", b"", b"\xff" + body))
        return Play(0.1, None, 200, _JSON, _cut(chance, broken), None, 0.0, None, ())
    if roll < 0.08:
        pieces = pieces[: chance.randrange(0, len(pieces) + 1)]
        ending = chance.choice((FaultKind.RESET, FaultKind.TIMEOUT, FaultKind.PROTOCOL))
        return Play(0.1, None, 200, _JSON, pieces, ending, IDLE_S, None, ())
    return Play(
        chance.random() * 3, None, 200, _JSON, pieces, ending, 0.0, whole_by, (Report(len(body), usage),), bad=bad
    )


_JSON: Final = {"content-type": "application/json"}
_SSE: Final = {"content-type": "text/event-stream; charset=utf-8"}


def _event(kind: str, rest: str) -> bytes:
    return f'event: {kind}\ndata: {{"type":"{kind}",{rest}}}\n\n'.encode()


_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_ERROR: Final = _event("error", '"error":{"type":"overloaded_error","message":"Overloaded"}')
_DELTA_KINDS: Final = (
    ("text_delta", "text", '{"type":"text","text":""}'),
    ("input_json_delta", "partial_json", '{"type":"tool_use","id":"t","name":"n","input":{}}'),
    ("thinking_delta", "thinking", '{"type":"thinking","thinking":""}'),
)


def _frames(chance: random.Random, *, bad: bool) -> list[tuple[bytes, Any]]:
    """A stream as it should be: frames, each with the usage that it reports."""
    start: Any = _usage(chance)
    if bad and chance.random() < 0.5:
        start = _spoil(chance, start)
    message = (
        '"message":{"id":"msg_upstream","type":"message","role":"assistant","model":"claude","content":[],'
        f'"stop_reason":null,"usage":{json.dumps(start)}}}'
    )
    frames: list[tuple[bytes, Any]] = [(_event("message_start", message), start)]
    words = 0
    for index in range(chance.choice((0, 1, 1, 1, 2))):
        delta, name, block = chance.choice(_DELTA_KINDS)
        frames.append((_event("content_block_start", f'"index":{index},"content_block":{block}'), None))
        if chance.random() < 0.2:
            frames.append((_PING, None))
        for _ in range(chance.randrange(0, 8)):
            text = chance.choice(WORDS)
            words += 1
            frames.append(
                (_event("content_block_delta", f'"index":{index},"delta":{{"type":"{delta}","{name}":"{text}"}}'), None)
            )
        frames.append((_event("content_block_stop", f'"index":{index}'), None))
    for _ in range(2 if chance.random() < 0.05 else 1):
        end: Any = {"output_tokens": chance.randrange(0, 3 * words + 5)}
        if bad and chance.random() < 0.7:
            end = _spoil(chance, {**_usage(chance), **end})
        frames.append((_event("message_delta", f'"delta":{{"stop_reason":"end_turn"}},"usage":{json.dumps(end)}'), end))
    frames.append((_STOP, None))
    return frames


class _Draft:
    """A stream while it is being written."""

    def __init__(self, chance: random.Random) -> None:
        self.bad = chance.random() < 0.1
        self.frames = _frames(chance, bad=self.bad)
        self.ending: FaultKind | None = None
        self.endless = False
        self.whole = True


def _stream(chance: random.Random) -> Play:
    draft = _Draft(chance)
    frames, roll = draft.frames, chance.random()
    if roll < 0.12:
        _cut_off(chance, draft)
    elif roll < 0.16:  # an error, or what is no event, where one should be
        at = chance.randrange(0, len(frames))
        wrong = chance.choice((_ERROR, _ERROR, b"event: message_delta\ndata: []\n\n", frames[0][0] if at else _ERROR))
        frames.insert(at, (wrong, None))
        draft.whole = False
    elif roll < 0.18:  # nonsense that a gateway passes on, or not
        frames.insert(chance.randrange(1, len(frames)), (chance.choice(_STRANGE), None))
        draft.bad = True
    elif roll < 0.1805:
        frames.insert(1, (b"data: " + HUGE + (b"\n\n" if chance.random() < 0.5 else HUGE), None))
        draft.bad = True
    elif roll < 0.19:
        draft.frames = [*frames[: chance.randrange(1, len(frames))], (_PING, None)]
        draft.endless, draft.whole = True, False
    elif roll < 0.24:  # data after the end
        frames.append((chance.choice((_LATE, _ERROR, frames[0][0], b"xx")), None))
    return _assemble(chance, draft)


_STRANGE: Final = (
    b"event: content_block_delta\ndata: \xff\xfe{\n\n", b": comment\n\n", b"\n\n", b"data: {not json\n\n",
    b"event: new\ndata: {}\n\n",
)  # fmt: skip
_LATE: Final = _event("message_delta", '"delta":{},"usage":{"input_tokens":1000000,"output_tokens":1000000}')


def _cut_off(chance: random.Random, draft: _Draft) -> None:
    """After some frame, or in one."""
    frames = draft.frames = draft.frames[: chance.randrange(0, len(draft.frames))]
    if frames and chance.random() < 0.5:
        last = frames[-1][0]
        frames[-1] = (last[: chance.randrange(0, len(last) - 1)], None)
    draft.ending = chance.choice((FaultKind.RESET, FaultKind.RESET, FaultKind.TIMEOUT, FaultKind.PROTOCOL, None))
    draft.whole = False


def _assemble(chance: random.Random, draft: _Draft) -> Play:
    """The bytes of a draft, cut anywhere, and what is true of them."""
    crlf = chance.random() < 0.05
    body, reports, whole_by = b"", [], None
    for frame, usage in draft.frames:
        body += frame.replace(b"\n", b"\r\n") if crlf else frame
        if usage is not None or b'"usage":null' in frame:
            reports.append(Report(len(body), usage))
        if draft.whole and whole_by is None and frame == _STOP:
            whole_by = len(body)
    last = [(chance.choice((0.5, 5.0, 50.0)), _PING)] if draft.endless else []
    is_stream = chance.random() > 0.01
    return Play(
        head_s=chance.random() * chance.choice((0.1, 1.0, 20.0)),
        fault=None,
        status=200,
        headers=_SSE if is_stream else _JSON,
        pieces=_cut(chance, body) + last,
        ending=draft.ending,
        ending_s=IDLE_S if draft.ending is FaultKind.TIMEOUT else 0.0,
        whole_by=whole_by if is_stream else None,
        reports=tuple(reports),
        endless=draft.endless,
        bad=draft.bad,
    )


def _cut(chance: random.Random, body: bytes) -> list[tuple[float, bytes]]:
    """Pieces of a body at any of its bytes, and the pauses before them."""
    if not body:
        return []
    count = chance.choice((0, 0, 1, 3, 8, 30)) if len(body) < 100_000 else 3
    cuts = sorted({chance.randrange(1, len(body)) for _ in range(count)} if len(body) > 1 else set())
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    pace = chance.choice((0.0, 0.0, 0.01, 0.2, 2.0))
    pauses = [pace * chance.random() for _ in pieces]
    if chance.random() < 0.05:
        pauses[chance.randrange(len(pauses))] += chance.choice((10.5, 25.0, 60.0))
    return list(zip(pauses, pieces, strict=True))
