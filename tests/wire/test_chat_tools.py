"""Tools and the choice among them are the Messages API's own once they are written."""

from typing import Any

import pytest

from faregate.wire.request import read
from faregate.wire.shape import Malformed
from tests.wire.chats import chat, tool, written

NAMED = {"type": "function", "function": {"name": "look"}}


def test_a_function_is_a_tool_with_all_that_was_said_of_it() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "integer"}}}
    mark = {"type": "ephemeral"}
    given = [
        {**tool(description="looks", parameters=schema, strict=True), "cache_control": mark},
        tool("bare", parameters=None, description=None, strict=False),
        tool("untyped", parameters={"required": []}),
    ]
    document = written(chat(tools=given))

    assert document["tools"] == [
        {"name": "look", "description": "looks", "input_schema": schema, "strict": True, "cache_control": mark},
        {"name": "bare", "input_schema": {"type": "object", "properties": {}}},
        {"name": "untyped", "input_schema": {"type": "object", "properties": {}, "required": []}},
    ]
    read(document, version="2023-06-01", beta=False)


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": NAMED}, {"type": "tool", "name": "look"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_a_choice_is_made_among_them(given: dict[str, Any], chosen: Any) -> None:
    document = written(chat(tools=[tool()], **given))

    assert document.get("tool_choice") == chosen
    read(document, version="2023-06-01", beta=False)


@pytest.mark.parametrize("given", [{}, {"tools": []}, {"tools": None}])
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_where_there_is_no_tool_there_is_no_choice(given: dict[str, Any], choice: str) -> None:
    document = written(chat(tool_choice=choice, parallel_tool_calls=False, **given))

    assert "tools" not in document and "tool_choice" not in document


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": ["look"]}, "tools.0"),
        ({"tools": [{"function": {"name": "look"}}]}, "tools.0.type"),
        ({"tools": [tool(), {"type": "custom", "custom": {"name": "a"}}]}, "tools.1.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        ({"tools": [tool(description=1)]}, "tools.0.function.description"),
        ({"tools": [tool(parameters="object")]}, "tools.0.function.parameters"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_what_is_no_tool_is_refused_by_its_own_path(given: dict[str, Any], path: str) -> None:
    with pytest.raises(Malformed) as refused:
        written(chat(**given))
    assert refused.value.path == path
