"""Tools as Chat Completions has them, and the choice among them, written for the Messages API.

The rule: only functions are spoken; what a tool's name and schema may be is judged where every request is.
"""

from typing import Any, Final

from faregate.wire.shape import Malformed, at, boolean, one_of, table, text

_CHOICES: Final = {"none": "none", "auto": "auto", "required": "any"}


def tools(value: object) -> list[dict[str, Any]]:
    """The tools that a request brings. Raises Malformed."""
    with at("tools"):
        if type(value) is not list:
            raise Malformed("Input should be a valid array")
        written = []
        for index, tool in enumerate(value):
            with at(index):
                written.append(_tool(tool))
        return written


def _tool(tool: object) -> dict[str, Any]:
    if type(tool) is not dict:
        raise Malformed("Input should be an object")
    one_of(tool.get("type"), ("function",), "type")
    function = table(tool, "function")
    with at("function"):
        written: dict[str, Any] = {"name": text(function, "name")}
        if function.get("description") is not None:
            written["description"] = text(function, "description")
        schema = {} if function.get("parameters") is None else table(function, "parameters")
    written["input_schema"] = schema if "type" in schema else {"type": "object", "properties": {}, **schema}
    if function.get("strict") is True:
        written["strict"] = True
    mark = tool.get("cache_control", function.get("cache_control"))
    return written if mark is None else {**written, "cache_control": mark}


def choice(given: dict[str, Any], *, offered: bool) -> dict[str, Any] | None:
    """`tool_choice` and `parallel_tool_calls`; None where there is nothing to say. Raises Malformed."""
    alone = False
    if "parallel_tool_calls" in given:
        with at("parallel_tool_calls"):
            boolean(given["parallel_tool_calls"])
        alone = not given["parallel_tool_calls"]
    written: dict[str, Any] = _chosen(given["tool_choice"]) if "tool_choice" in given else {"type": "auto"}
    if written["type"] in ("auto", "none") and not offered:
        return None  # OpenAI's clients may say so all the same.
    if alone and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return None if written == {"type": "auto"} else written


def _chosen(value: object) -> dict[str, Any]:
    with at("tool_choice"):
        if type(value) is not dict:
            one_of(value, tuple(_CHOICES))
            return {"type": _CHOICES[str(value)]}
        one_of(value.get("type"), ("function",), "type")
        function = table(value, "function")
        with at("function"):
            return {"type": "tool", "name": text(function, "name")}
