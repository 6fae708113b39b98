"""What an answer of Chat Completions used, as Anthropic tells it, and why it stopped.

One rule: prompt tokens that were read from a cache are counted there and not as input; nonsense is as good as nothing.
"""

from typing import Any, Final

import msgspec

from faregate.core.meter import BYTES_PER_TOKEN, TOKENS_MAX

REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""Any other word (`eos`, ...) is an end like any other, unless it is one of BROKEN."""
BROKEN: Final = frozenset({"abort", "error", "insufficient_system_resource"})
"""vLLM, SGLang, DeepSeek: the answer was given up, and is not whole."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, each >= 0."""

    prompt: int
    """Cached ones included."""
    cached: int
    completion: int
    """Reasoning included."""
    reasoning: int = 0


def counts(usage: object) -> Counts | None:
    """Read a `usage` object; None where it does not count both sides."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    cached = _count(_within(usage, "prompt_tokens_details", "cached_tokens"))
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))  # DeepSeek's name for it.
    reasoning = _count(_within(usage, "completion_tokens_details", "reasoning_tokens")) or 0
    return Counts(prompt=prompt, cached=min(cached or 0, prompt), completion=completion, reasoning=reasoning)


def at_start(found: Counts | None, input_guess: int) -> dict[str, Any]:
    """The usage of `message_start`: the input as counted where the peer tells it so early, else as we estimate it.

    The true one follows in `message_delta`, and replaces it.
    """
    if found is None or not found.prompt:
        return _usage(input_guess, 0, 1)
    return _usage(found.prompt - found.cached, found.cached, 1)


def at_end(found: Counts, *, input_guess: int, text_bytes: int, warming: bool) -> dict[str, Any]:
    """The usage of an answer, as the peer counted it; the one token of a pre-warm was thrown away.

    A 0 for what was there is nonsense, and our own count stands in for it: Ollama has told one of a prompt that it had
    cached.
    """
    output = 0 if warming else found.completion
    silent = not found.prompt, not output and text_bytes > 0
    uncached = input_guess if silent[0] else found.prompt - found.cached
    usage = _usage(uncached, found.cached, _tokens(text_bytes) if silent[1] else output)
    if any(silent):
        usage["estimated"] = True
    if found.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": min(found.reasoning, output)}
    return usage


def estimated(input_guess: int, text_bytes: int) -> dict[str, Any]:
    """The usage of an answer that the peer did not count: ours, by the meter's own measure, and marked as such."""
    return {**_usage(input_guess, 0, _tokens(text_bytes)), "estimated": True}


def _tokens(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_PER_TOKEN)


def _usage(uncached: int, cached: int, output: int) -> dict[str, Any]:
    return {
        "input_tokens": uncached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def _within(usage: dict[str, Any], outer: str, inner: str) -> object:
    found = usage.get(outer)
    return found.get(inner) if isinstance(found, dict) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None
