"""What the fake upstream says, as bytes that were made before: Anthropic's answers, plain and as events.

A request chooses its answer in `metadata.user_id`, the one free text that every gateway passes on:

    (nothing)                     a plain answer, or two events where the request says `stream`
    events=60                     so many text events, in one burst
    events=60;gap_ms=20           the same, so far apart; each says in its text when it was sent
    events=100000;size=1000       each with so many characters more: an answer that is never done

One rule: nothing is parsed that need not be. Two regular expressions find what is asked for.
"""

import json
import re
from functools import cache
from typing import Any, Final, NamedTuple

MODEL: Final = "claude-haiku-4-5"
INPUT_TOKENS: Final = 200
STAMP: Final = re.compile(rb"@(\d{20})@")
"""When an event was sent, in nanoseconds of the monotonic clock."""

_USER: Final = re.compile(rb'"user_id"\s*:\s*"([^"]*)"')
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')


class Asked(NamedTuple):
    """An answer that was asked for."""

    stream: bool
    events: int = 2
    gap_s: float = 0.0
    size: int = 0


def asked(body: bytes) -> Asked:
    """What a request asks for. Raises ValueError where its steering is none."""
    found = _USER.search(body)
    words = dict(word.split("=", 1) for word in found[1].decode().split(";") if word) if found else {}
    return Asked(
        stream=_STREAM.search(body) is not None,
        events=int(words.get("events", 2)),
        gap_s=float(words.get("gap_ms", 0)) / 1000,
        size=int(words.get("size", 0)),
    )


def steering(events: int, *, gap_ms: float = 0, size: int = 0) -> str:
    """The `metadata.user_id` that asks for it."""
    return f"events={events};gap_ms={gap_ms:g};size={size}"


@cache
def plain(tokens: int) -> bytes:
    """A whole answer with its head."""
    body = json.dumps(_message([{"type": "text", "text": "word " * tokens}], tokens, "end_turn")).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@cache
def opening() -> bytes:
    """The head of a stream, and what comes before its first text."""
    start = {"type": "message_start", "message": _message([], 1, None)}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + _event(start) + _event(block) + _event({"type": "ping"})


@cache
def closing(tokens: int) -> bytes:
    """What comes behind the last text."""
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": tokens},
    }
    last = _event({"type": "content_block_stop", "index": 0}) + _event(delta) + _event({"type": "message_stop"})
    return last + b"0\r\n\r\n"


@cache
def burst(events: int, size: int) -> bytes:
    """A whole stream."""
    return opening() + text(0, size) * events + closing(events)


def text(sent_ns: int, size: int) -> bytes:
    """One event with text, sent now."""
    before, after = _text(size)
    return b"%b%020d%b" % (before, sent_ns, after)


@cache
def _text(size: int) -> tuple[bytes, bytes]:
    word = "x" * size
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"@{0:020d}@{word}"}}
    before, _, after = _event(delta).partition(b"%020d" % 0)
    return before, after


def _event(event: dict[str, Any]) -> bytes:
    """An event in a chunk of its own, as it comes from a server that flushes each."""
    frame = f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _message(content: list[dict[str, Any]], tokens: int, stopped: str | None) -> dict[str, Any]:
    usage = {
        "input_tokens": INPUT_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens,
    }
    return {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stopped,
        "stop_sequence": None,
        "usage": usage,
    }
