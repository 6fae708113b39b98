"""Tools: the caller's own pass, the provider's are noted, and a choice names one that is given."""

from typing import Any, get_args, get_type_hints

import anthropic.types as sdk
import pytest
from anthropic.types.beta import BetaToolUnionParam

from faregate.wire.shape import Malformed
from faregate.wire.tally import Tally
from faregate.wire.tools import check_choice, inline, tool_choice, tools
from tests.wire.bodies import tool


def judged(*given: Any) -> Tally:
    tally = Tally(strict=False, beta=False)
    tools(list(given), tally)
    return tally


def test_a_tool_that_a_message_brings_counts_and_may_be_brought_again() -> None:
    tally = Tally(strict=False, beta=True)
    for definition in (tool("a"), tool("a"), {"type": "bash_20250124", "name": "bash"}, {"type": "mcp_toolset"}):
        inline(definition, tally)
    tools([tool("a")], tally)
    check_choice({"type": "tool", "name": "bash"}, tally)

    assert (tally.tools, tally.typed_tools, tally.server_run) == (5, 2, [("messages", "mcp_toolset")])


def test_custom_tools_pass_with_fields_nobody_knows() -> None:
    tally = judged(
        tool("a", strict=True, defer_loading=True, novelty={"x": 1}), tool("b", type="custom"), tool("c", type=None)
    )

    assert (tally.tools, tally.typed_tools, tally.tool_names) == (3, 0, {"a", "b", "c"})


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        (7, "1"),
        ({"description": "x", "input_schema": {}}, "1.name"),
        (tool(name=""), "1.name"),
        (tool(name="a" * 129), "1.name"),
        (tool(name="no spaces"), "1.name"),
        (tool(name="first"), "1.name"),
        ({"name": "x"}, "1.input_schema"),
        ({"name": "x", "input_schema": []}, "1.input_schema"),
        (tool(description=3), "1.description"),
        (tool(type=3), "1.type"),
        (tool(type="telepathy_20300101"), "1.type"),
        (tool(cache_control={"type": "ephemeral", "ttl": "9h"}), "1.cache_control.ttl"),
    ],
)
def test_a_fault_in_a_tool_names_its_place(broken: Any, path: str) -> None:
    with pytest.raises(Malformed) as refused:
        judged(tool("first"), broken)
    assert refused.value.path == path


@pytest.mark.parametrize("kind", ["bash_20250124", "text_editor_20250728", "memory_20250818", "computer_20251124"])
def test_tools_that_the_caller_runs_pass_in_any_dated_version(kind: str) -> None:
    tally = judged({"type": kind, "name": "it"})

    assert (tally.typed_tools, tally.server_run) == (1, [])


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_20250305",
        "web_fetch_20260318",
        "code_execution_20990101",
        "advisor_20260301",
        "tool_search_tool_bm25",
        "tool_search_tool_regex_20251119",
        "mcp_toolset",
    ],
)
def test_tools_that_the_provider_runs_are_noted(kind: str) -> None:
    assert judged(tool(), {"type": kind, "name": "it"}).server_run == [("tools.1.type", kind)]


def test_a_mark_on_a_tool_counts() -> None:
    assert judged(tool(cache_control={"type": "ephemeral", "ttl": "1h"})).cache_1h


@pytest.mark.parametrize(
    ("choice", "path"),
    [
        ("auto", ""),
        ({}, "type"),
        ({"type": "maybe"}, "type"),
        ({"type": "tool"}, "name"),
        ({"type": "tool", "name": 3}, "name"),
        ({"type": "auto", "disable_parallel_tool_use": 1}, "disable_parallel_tool_use"),
    ],
)
def test_a_malformed_choice_is_refused(choice: Any, path: str) -> None:
    with pytest.raises(Malformed) as refused:
        tool_choice(choice, Tally(strict=False, beta=False))
    assert refused.value.path == path


def test_a_forced_tool_is_one_of_those_given() -> None:
    given = judged(tool("look"))
    check_choice({"type": "tool", "name": "look"}, given)
    with pytest.raises(Malformed, match=r"^tool_choice.name: Tool 'leap' not found in provided tools"):
        check_choice({"type": "tool", "name": "leap"}, given)
    with pytest.raises(Malformed, match=r"^tool_choice.type: 'any' may only be specified while providing `tools`"):
        check_choice({"type": "any"}, judged())
    check_choice({"type": "none"}, judged())


def test_a_toolset_may_hold_a_name_that_is_not_written_out() -> None:
    check_choice({"type": "tool", "name": "click"}, judged({"type": "computer_toolset_20260801"}))


def test_every_tool_of_the_newest_sdk_is_the_callers_or_the_providers() -> None:
    unions: list[Any] = [sdk.ToolUnionParam, BetaToolUnionParam]
    members = [member for union in unions for member in get_args(union)]
    kinds = {kind for member in members for kind in get_args(get_type_hints(member)["type"]) if isinstance(kind, str)}
    assert len(kinds) > 20
    for kind in kinds - {"custom"}:
        assert judged({"type": kind}).typed_tools == 1
