"""Drives the official Python SDK through the gateway."""

import time
from typing import Any, Final

import anthropic
from riding import ASK_TOOL, CITY, KEY, MODEL, POOR_KEY, SENTENCE, SKY, URL, NotServed, ride, weather

HELLO: Final[list[Any]] = [{"role": "user", "content": "Hello there"}]
TOOLS: Final[list[Any]] = [
    {
        "name": "weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
THINKING: Final[Any] = {"type": "enabled", "budget_tokens": 1_024}
BATCH_S_MAX: Final = 60

client: Any = anthropic.Anthropic(base_url=URL, api_key=KEY)


def plain() -> None:
    """A message, whole."""
    message = client.messages.create(model=MODEL, max_tokens=200, messages=HELLO)
    assert message.content[0].text == SENTENCE and message.model == MODEL
    assert message.stop_reason == "end_turn" and message._request_id


def stream() -> None:
    """A message, event by event; its usage is there from the first."""
    with client.messages.stream(model=MODEL, max_tokens=200, messages=HELLO) as events:
        kinds = [event.type for event in events]
        message = events.get_final_message()
    assert message.content[0].text == SENTENCE and message.usage.input_tokens > 0
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "text" in kinds


def tools() -> None:
    """Two turns with a tool, thinking: the signed thought goes back as it came."""
    messages: list[Any] = [{"role": "user", "content": ASK_TOOL}]
    with client.messages.stream(
        model=MODEL, max_tokens=4_000, thinking=THINKING, tools=TOOLS, messages=messages
    ) as events:
        first = events.get_final_message()
    thought, _, call = first.content
    assert (thought.type, call.type, call.input) == ("thinking", "tool_use", {"city": CITY}), first.content
    result = {"type": "tool_result", "tool_use_id": call.id, "content": weather(call.input["city"])}
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(model=MODEL, max_tokens=4_000, thinking=THINKING, tools=TOOLS, messages=messages)
    assert SKY in last.content[0].text, last.content


def errors() -> None:
    """What is refused raises the SDK's own class, at once."""
    began = time.monotonic()
    with raised(anthropic.BadRequestError, "messages"):
        client.messages.create(model=MODEL, max_tokens=10, messages=[])
    with raised(anthropic.NotFoundError, "no-such-model"):
        client.messages.create(model="no-such-model", max_tokens=10, messages=HELLO)
    with raised(anthropic.AuthenticationError, "key"):
        client.with_options(api_key="sk-fare-nobody").messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    with raised(anthropic.APIStatusError, "credits"):
        client.with_options(api_key=POOR_KEY).messages.create(model=MODEL, max_tokens=10, messages=HELLO)
    assert time.monotonic() - began < 10, "a refusal was repeated"


def count_tokens() -> None:
    """A count, and nothing billed."""
    assert client.messages.count_tokens(model=MODEL, messages=HELLO, tools=TOOLS).input_tokens > 0


def models() -> None:
    """The list, page by page, and one of it."""
    ids = [model.id for model in client.models.list(limit=1)]
    assert MODEL in ids and len(ids) > 1, ids
    assert client.models.retrieve(MODEL).max_input_tokens


def batches() -> None:
    """A batch of two, to its results."""
    params: Any = {"model": MODEL, "max_tokens": 50, "messages": HELLO}
    try:
        batch = client.messages.batches.create(requests=[{"custom_id": name, "params": params} for name in ("a", "b")])
    except anthropic.NotFoundError as error:
        raise NotServed(str(error)) from None
    limit = time.monotonic() + BATCH_S_MAX
    while batch.processing_status != "ended" and time.monotonic() < limit:
        time.sleep(0.2)
        batch = client.messages.batches.retrieve(batch.id)
    results = {line.custom_id: line.result.type for line in client.messages.batches.results(batch.id)}
    assert results == {"a": "succeeded", "b": "succeeded"}, results


class raised:  # noqa: N801 - it reads as a word: `with raised(...)`
    """The error that must come, and a word of its message."""

    def __init__(self, kind: type[Exception], word: str) -> None:
        self.kind, self.word = kind, word

    def __enter__(self) -> None:
        """Nothing to do before it."""

    def __exit__(self, _: object, error: object, __: object) -> bool:
        assert isinstance(error, self.kind) and self.word in str(error), error or "nothing was raised"
        return True


if __name__ == "__main__":
    ride(
        {
            "plain": plain, "stream": stream, "tools": tools, "errors": errors, "count_tokens": count_tokens,
            "models": models, "batches": batches,
        },
        f"anthropic {anthropic.__version__}",
    )  # fmt: skip
