"""Drives LangChain's ChatAnthropic through the gateway."""

from importlib.metadata import version
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from riding import ASK_TOOL, KEY, MODEL, POOR_KEY, SENTENCE, SKY, URL, ride, weather


def chat(key: str = KEY) -> Any:
    """A chat model as its users make it."""
    return ChatAnthropic(model=MODEL, max_tokens=200, base_url=URL, api_key=key, max_retries=2)


def plain() -> None:
    """A message, whole."""
    answer = chat().invoke("Hello there")
    assert answer.text == SENTENCE, answer
    assert answer.usage_metadata["output_tokens"] > 0


def stream() -> None:
    """A message in chunks."""
    chunks = list(chat().stream("Hello there"))
    assert "".join(chunk.text for chunk in chunks) == SENTENCE and len(chunks) > 2


def tools() -> None:
    """Two turns with a tool."""
    messages: list[Any] = [HumanMessage(ASK_TOOL)]
    model = chat().bind_tools([tool(weather)])
    first = model.invoke(messages)
    (call,) = first.tool_calls
    messages += [first, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]
    assert SKY in model.invoke(messages).text


def errors() -> None:
    """An empty wallet is an error with its words."""
    try:
        chat(POOR_KEY).invoke("Hello there")
    except Exception as error:
        assert "credits" in str(error), error
    else:
        raise AssertionError("nothing was raised")


def count_tokens() -> None:
    """A count."""
    assert chat().get_num_tokens_from_messages([HumanMessage("Hello there")]) > 0


if __name__ == "__main__":
    ride(
        {"plain": plain, "stream": stream, "tools": tools, "errors": errors, "count_tokens": count_tokens},
        f"langchain-anthropic {version('langchain-anthropic')}",
    )
