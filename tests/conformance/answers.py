"""What the scripted upstream of a conformance run answers, whichever client asks: its prompts steer the conversation.

One rule: no two answers of a run have the same usage (`NUMBERED` of them at least), so that each receipt can be laid
beside the one answer that it is for, and what was billed beside what was said.

    prompt text with <<{"name": "weather", "input": {...}}>>     that tool is called, if the request brings it
    a turn that ends in tool results                            "The tool said: ..." with their text
    anything else                                               a sentence

A request that thinks is answered with a signed thought before its tool call, and the thought must come back untouched.
"""

import json
import re
from typing import Any, Final

from faregate.upstreams.script import Play, Seen, failure, plain, stream

SENTENCE: Final = "The gate opens when the fare is held."
THOUGHT: Final = {"type": "thinking", "thinking": "A tool knows that.", "signature": "c2lnbmVkLWJ5LXVwc3RyZWFtPT0="}

_CALL = re.compile(r"<<(\{.*?\})>>", re.DOTALL)
_INPUTS: Final = 90
"""Input counts in turn: the shortest body, with its template, is bounded above all of them."""
_OUTPUTS: Final = 40
NUMBERED: Final = _INPUTS * _OUTPUTS


class Upstream:
    """A script that remembers what it said, by the number of the request."""

    def __init__(self) -> None:
        self.said: dict[int, dict[str, Any]] = {}
        """The messages, by `Seen.index`."""
        self.golden: Play | None = None
        """Instead of all else, this answer to every message."""

    def __call__(self, seen: Seen) -> Play | None:
        if seen.path.partition("?")[0] != "/v1/messages":
            return None
        if self.golden is not None:
            return self.golden
        document = seen.document
        if "messages" not in document:
            return failure(400, "invalid_request_error", "messages: Field required")
        message = self._message(document, seen.index)
        self.said[seen.index] = message
        return stream(message) if document.get("stream") is True else plain(message)

    def _message(self, document: dict[str, Any], index: int) -> dict[str, Any]:
        content, reason = _content(document, index)
        cap = document["max_tokens"]
        if not cap:
            content, reason = [], "max_tokens"
        return {
            "id": f"msg_upstream_{index}",
            "type": "message",
            "role": "assistant",
            "model": document["model"],
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 10 + index % _INPUTS,
                "output_tokens": min(cap, 10 + index // _INPUTS % _OUTPUTS),
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "service_tier": "standard",
            },
        }


def _content(document: dict[str, Any], index: int) -> tuple[list[dict[str, Any]], str]:
    turns = [message for message in document["messages"] if message.get("role") != "system"]
    last = turns[-1].get("content") if turns else ""
    results = [block for block in last if block.get("type") == "tool_result"] if isinstance(last, list) else []
    if results:
        said = " ".join(_words(result.get("content")) for result in results)
        return [{"type": "text", "text": f"The tool said: {said}"}], "end_turn"
    call = _call(_words(last), document.get("tools") or [])
    if call is None:
        return [{"type": "text", "text": SENTENCE}], "end_turn"
    block = {"type": "tool_use", "id": f"toolu_{index:06d}", **call}
    thinks = (document.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    return [*([THOUGHT] if thinks else []), {"type": "text", "text": "Let me see."}, block], "tool_use"


def _call(prompt: str, tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The call that a prompt asks for, when its tool is there."""
    for found in _CALL.findall(prompt):
        call: dict[str, Any] = json.loads(found)
        if any(tool.get("name") == call["name"] for tool in tools):
            return call
    return None


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(_words(block.get("text") or block.get("content")) for block in content)
    return ""
