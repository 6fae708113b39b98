"""OpenAI's Chat Completions: a request of theirs, written as one of the Messages API.

The rule: what promises something of the answer (`n`, `logprobs`, `audio`, JSON without a schema) is refused by its name
when it cannot be kept; what only steers the model, or is not known, is left out and named in `dropped`. A null asks for
nothing, and neither does a value that is the default. What is judged here are OpenAI's own shapes, with their own
paths; the rest is judged as any request to the Messages API is, and `Chat.place` says where its fault stood.

    translate(document, max_output)  ->  Chat, or Malformed
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from faregate.wire.chat_messages import conversation
from faregate.wire.chat_tools import choice, tools
from faregate.wire.request import EFFORTS
from faregate.wire.shape import EXTRA, Malformed, at, boolean, number, one_of, required, table

STRANGERS_MAX: Final = 32
"""Keys that nobody knows and that the answer's header must name: no client sends more."""

USER_CHARS_MAX: Final = 256

TEMPERATURE_MAX: Final = 2
"""OpenAI's scale ends here, the Messages API's at 1."""

REFUSED: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "n": (lambda value: value == 1 and type(value) is int, "one choice is made for a request: send it again instead"),
    "logprobs": (lambda value: value is False, "probabilities of tokens are not given"),
    "top_logprobs": (lambda value: value == 0, "probabilities of tokens are not given"),
    "modalities": (lambda value: value == ["text"], "only text is generated"),
    "audio": (lambda _: False, "only text is generated"),
    "functions": (lambda value: value == [], "functions are given as `tools`"),
    "function_call": (lambda _: False, "functions are given as `tools`, and chosen with `tool_choice`"),
    "web_search_options": (lambda _: False, "tools that the provider runs have no price here"),
    "moderation": (lambda _: False, "answers are not scored"),
}
"""What cannot be kept: the values of it that ask for nothing, and what a caller is told of any other."""

ADVICE: Final[Mapping[str, Callable[[Any], bool]]] = {
    "frequency_penalty": lambda value: value == 0,
    "presence_penalty": lambda value: value == 0,
    "logit_bias": lambda value: value == {},
    "seed": lambda _: False,
    "store": lambda value: value is False,
    "metadata": lambda value: value == {},
    "service_tier": lambda value: value in ("auto", "default"),
    "verbosity": lambda value: value == "medium",
    "prediction": lambda _: False,
    "prompt_cache_key": lambda _: False,
    "prompt_cache_options": lambda _: False,
    "prompt_cache_retention": lambda _: False,
}
"""What is left out and named; a value that asks for nothing is not named either."""

PASSED: Final = ("model", "stream", "thinking", "top_k", "cache_control")
"""What has the same name and meaning on both sides, or is the Messages API's own and sent by who knows it."""

_NAMED: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """A translated request, and what its answer must know of it."""

    document: dict[str, Any]
    """As the Messages API has it."""
    dropped: tuple[str, ...]
    include_usage: bool
    origins: tuple[int, ...]
    """For each message of the document, the place of the one that it begins with."""
    cap: str
    """The name under which the caller bounds the output."""

    def place(self, path: str) -> str:
        """What a path of the Messages API is called in the caller's own request."""
        name, _, rest = path.partition(".")
        first, _, inner = rest.partition(".")
        if name == "messages" and first.isdigit() and int(first) < len(self.origins):
            return f"messages.{self.origins[int(first)]}"
        if name == "tools" and inner:
            return f"tools.{first}.{_OF_A_TOOL.get(inner, inner)}"
        if name == "stop_sequences":
            return "stop" + path.removeprefix(name)
        return {**_RENAMED, "max_tokens": self.cap}.get(path, path)


_RENAMED: Final = {
    "system": "messages", "metadata.user_id": "user",
    "output_config.effort": "reasoning_effort", "output_config.format": "response_format",
}  # fmt: skip
_OF_A_TOOL: Final = {
    "name": "function.name", "description": "function.description", "input_schema": "function.parameters",
}  # fmt: skip


def translate(document: dict[str, Any], max_output: Callable[[Any], int]) -> Chat:
    """Write a Chat Completions request as a Messages request. `max_output` gives the most that a model, by the name
    that was sent, can generate: what a caller who bounds nothing asks for. Raises Malformed."""
    given = {name: value for name, value in document.items() if value is not None}
    dropped = _left_out(given)
    with at("messages"):
        system, messages, origins = conversation(required(given, "messages"))
    written: dict[str, Any] = {name: given[name] for name in PASSED if name in given}
    cap = "max_tokens" if "max_tokens" in given and "max_completion_tokens" not in given else "max_completion_tokens"
    written["max_tokens"] = given[cap] if cap in given else max_output(given.get("model"))
    if system:
        written["system"] = system
    written["messages"] = messages
    if offered := tools(given.get("tools", [])):
        written["tools"] = offered
    if (chosen := choice(given, offered=bool(offered))) is not None:
        written["tool_choice"] = chosen
    written |= _sampling(given, dropped)
    written |= _output(given, dropped)
    if (user := given.get("safety_identifier", given.get("user"))) is not None:
        written["metadata"] = {"user_id": _opaque(user)}
    return Chat(
        document=written, dropped=tuple(dropped), include_usage=_usage_wanted(given), origins=tuple(origins), cap=cap
    )


def _opaque(user: object) -> object:
    """An id as the Messages API takes it, which refuses addresses of people, and what is long."""
    if type(user) is not str or ("@" not in user and len(user) <= USER_CHARS_MAX):
        return user
    return hashlib.sha256(user.encode()).hexdigest()


def _left_out(given: dict[str, Any]) -> list[str]:
    """Refuse what cannot be kept; the names of what is dropped."""
    dropped, strangers = [], 0
    for name, value in given.items():
        if name in REFUSED:
            asks_nothing, why = REFUSED[name]
            if not asks_nothing(value):
                raise Malformed(f"Not supported here: {why}", name)
        elif name in ADVICE:
            if not ADVICE[name](value):
                dropped.append(name)
        elif name not in KNOWN:
            strangers += 1
            if strangers > STRANGERS_MAX or _NAMED.fullmatch(name) is None:
                raise Malformed(EXTRA, name[:64])
            dropped.append(name)
    return dropped


def _sampling(given: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    """The Messages API's defaults are both 1; newer models take either of the two, so that none is sent in vain."""
    written = {}
    for name in ("temperature", "top_p"):
        value = given.get(name, 1)
        with at(name):
            number(value)
            if name == "temperature" and value > TEMPERATURE_MAX:
                raise Malformed(f"Input should be less than or equal to {TEMPERATURE_MAX}")
        if name == "temperature" and value > 1:
            dropped.append(name)  # What it is then is 1, the hottest there is.
        elif value != 1:
            written[name] = value
    stop = given.get("stop", [])
    if stop != []:
        written["stop_sequences"] = [stop] if type(stop) is str else stop
    return written


def _output(given: dict[str, Any], dropped: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if "reasoning_effort" in given:
        one_of(given["reasoning_effort"], ("none", "minimal", *EFFORTS), "reasoning_effort")
        if given["reasoning_effort"] != "none":  # Nothing thinks unless it is asked to.
            config["effort"] = "low" if given["reasoning_effort"] == "minimal" else given["reasoning_effort"]
    if "response_format" in given:
        form = table(given, "response_format")
        with at("response_format"):
            one_of(form.get("type"), ("text", "json_object", "json_schema"), "type")
            if form["type"] == "json_object":
                dropped.append("response_format")  # JSON is promised by a schema alone.
            if form["type"] == "json_schema":
                named = table(form, "json_schema")
                with at("json_schema"):
                    config["format"] = {"type": "json_schema", "schema": table(named, "schema")}
    return {"output_config": config} if config else {}


def _usage_wanted(given: dict[str, Any]) -> bool:
    if "stream_options" not in given:
        return False
    options = table(given, "stream_options")
    wanted = options.get("include_usage")
    with at("stream_options.include_usage"):
        boolean(False if wanted is None else wanted)
    return wanted is True


KNOWN: Final = frozenset({
    *PASSED, "messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls",
    "temperature", "top_p", "stop", "reasoning_effort", "response_format", "stream_options", "user",
    "safety_identifier",
})  # fmt: skip
"""What is written anew, beside what is refused or left out."""
