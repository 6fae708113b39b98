"""Drives an agent of pydantic-ai through the gateway."""

import asyncio
from importlib.metadata import version
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from riding import ASK_TOOL, KEY, MODEL, POOR_KEY, SENTENCE, SKY, URL, ride, weather


def agent(key: str = KEY, **more: Any) -> Any:
    """An agent as its users make it."""
    provider = AnthropicProvider(base_url=URL, api_key=key)
    return Agent(AnthropicModel(MODEL, provider=provider), **more)


def plain() -> None:
    """A message, whole."""
    result = agent().run_sync("Hello there")
    assert result.output == SENTENCE, result.output


def stream() -> None:
    """A message as it comes."""

    async def read() -> list[str]:
        async with agent().run_stream("Hello there") as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    pieces = asyncio.run(read())
    assert "".join(pieces) == SENTENCE and len(pieces) > 1, pieces


def tools() -> None:
    """Two turns with a tool."""
    result = agent(tools=[weather]).run_sync(ASK_TOOL)
    assert SKY in result.output, result.output
    assert result.usage.requests == 2


def errors() -> None:
    """An empty wallet is an error with its words."""
    try:
        agent(POOR_KEY).run_sync("Hello there")
    except Exception as error:
        assert "credits" in str(error), error
    else:
        raise AssertionError("nothing was raised")


if __name__ == "__main__":
    ride(
        {"plain": plain, "stream": stream, "tools": tools, "errors": errors},
        f"pydantic-ai {version('pydantic-ai-slim')}",
    )
