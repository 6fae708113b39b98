"""Tools and the choice among them.

The rule: a tool is the caller's own (`custom`), a typed one that the caller runs, or one that the provider's servers
run. The last kind is only noted here: whether it can be served is the catalog's affair. A type that is none of these
is refused even under a beta, because nobody could say what it would cost.
"""

import re
from typing import Any, Final

from faregate.wire.shape import Malformed, at, boolean, one_of, table, text
from faregate.wire.tally import Tally

NAME_CHARS_MAX: Final = 128

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)
_CALLER_RUN = re.compile(r"(bash|text_editor|memory|computer|computer_toolset|browser_toolset)_20\d{6}", re.ASCII)
_SERVER_RUN = re.compile(
    r"(web_search|web_fetch|code_execution|advisor)_20\d{6}|tool_search_tool_(bm25|regex)(_20\d{6})?|mcp_toolset",
    re.ASCII,
)


def tools(value: object, tally: Tally) -> None:
    """Judge the tools that a request brings."""
    if type(value) is not list:
        raise Malformed("Input should be a valid array")
    tally.tools += len(value)
    index = 0
    try:
        for index, tool in enumerate(value):
            if type(tool) is not dict:
                raise Malformed("Input should be an object")
            kind = tool.get("type")
            if kind is None or kind == "custom":
                _custom(tool)
            else:
                _typed(tool, kind, f"tools.{index}.type", tally)
            _name(tool, tally)
            if "cache_control" in tool:
                with at("cache_control"):
                    tally.mark(tool["cache_control"])
    except Malformed as error:
        error.under(index)
        raise


def inline(tool: object, tally: Tally) -> None:
    """Judge a tool that a message brings instead of `tools`: as any other, but that it may be brought again."""
    if type(tool) is not dict:
        raise Malformed("Input should be an object", "definition")
    tally.tools += 1
    tally.toolsets = True  # Whoever chooses it by its name need not find it among `tools`.
    kind = tool.get("type")
    with at("definition"):
        if kind is None or kind == "custom":
            _custom(tool)
        else:
            _typed(tool, kind, "messages", tally)


def _custom(tool: dict[str, Any]) -> None:
    name = text(tool, "name")
    if _NAME.fullmatch(name) is None:
        raise Malformed(f"String should be 1 to {NAME_CHARS_MAX} letters, digits, _ or -", "name")
    table(tool, "input_schema")
    if type(tool.get("description", "")) is not str:
        raise Malformed("Input should be a valid string", "description")


def _typed(tool: dict[str, Any], kind: object, path: str, tally: Tally) -> None:
    if type(kind) is not str:
        raise Malformed("Input should be a valid string", "type")
    if _SERVER_RUN.fullmatch(kind):
        tally.server_run.append((path, kind))
    elif not _CALLER_RUN.fullmatch(kind):
        raise Malformed(
            f"{kind[:64]!r} is not a type of tool: 'custom', or one of the Messages API's dated types", "type"
        )
    tally.typed_tools += 1


def _name(tool: dict[str, Any], tally: Tally) -> None:
    if "name" not in tool:
        tally.toolsets = True
        return
    name = text(tool, "name")
    if name in tally.tool_names:
        raise Malformed(f"Tool names must be unique, and {name[:NAME_CHARS_MAX]!r} is given twice", "name")
    tally.tool_names.add(name)


def tool_choice(value: object, _: Tally) -> None:
    """Judge the choice by itself; whether its tool is given is known only when all is read."""
    if type(value) is not dict:
        raise Malformed("Input should be an object")
    one_of(value.get("type"), ("auto", "any", "tool", "none"), "type")
    if value["type"] == "tool":
        text(value, "name")
    if "disable_parallel_tool_use" in value:
        with at("disable_parallel_tool_use"):
            boolean(value["disable_parallel_tool_use"])


def check_choice(choice: dict[str, Any], tally: Tally) -> None:
    """A forced tool must be one of those given."""
    kind = choice["type"]
    if kind in ("any", "tool") and not tally.tools:
        raise Malformed(f"{kind!r} may only be specified while providing `tools`", "tool_choice.type")
    if kind == "tool" and choice["name"] not in tally.tool_names and not tally.toolsets:
        raise Malformed(f"Tool {choice['name'][:NAME_CHARS_MAX]!r} not found in provided tools", "tool_choice.name")
