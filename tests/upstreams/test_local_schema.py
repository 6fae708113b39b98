"""A caller's schema becomes a grammar that compiles and stays small, or a refusal that names the place.

Method: examples of each word, then anything that is JSON: whatever comes, nothing unbounded or unknown leaves.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import InvalidRequest, Refused, Unsupported
from faregate.upstreams.local_schema import CHOICES_MAX, DEPTH_MAX, ITEMS_MAX, NODES_MAX, TYPES, choose, constrain

WORDS = {
    "type", "properties", "required", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "$defs",
    "definitions", "additionalProperties", "minItems", "maxItems",
}  # fmt: skip


def test_what_shapes_an_answer_is_kept() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}, "at": {"$ref": "#/$defs/at"}},
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"at": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}},
    }

    assert constrain(schema, "x") == schema


def test_words_that_only_narrow_are_left_out() -> None:
    narrowed = {"type": "string", "minLength": 3, "maxLength": 2, "pattern": "a(", "format": "email", "title": "T"}

    assert constrain(narrowed, "x") == {"type": "string"}


def test_an_object_is_closed_unless_its_author_opens_it() -> None:
    properties = {"a": {"type": "string"}}

    assert constrain({"properties": properties}, "x")["additionalProperties"] is False
    assert constrain({"properties": properties, "additionalProperties": True}, "x")["additionalProperties"] is True


def test_a_schema_that_says_nothing_is_an_object() -> None:
    assert constrain({}, "x") == {"type": "object"}
    assert constrain({"description": "anything"}, "x") == {"type": "object"}


def test_properties_keep_their_order_and_impossible_ones_are_left_out() -> None:
    schema = constrain({"properties": {"z": True, "a": {}, "no": False}, "required": ["z", "no", "unknown"]}, "x")

    assert list(schema["properties"]) == ["z", "a"]
    assert schema["required"] == ["z"]


@pytest.mark.parametrize(("least", "most"), [(3, 2), (-1, 2), (0, ITEMS_MAX + 1), (True, 2), (0, 10**9)])
def test_counts_that_are_large_or_contradict_each_other_are_left_out(least: Any, most: Any) -> None:
    assert constrain({"type": "array", "minItems": least, "maxItems": most}, "x") == {"type": "array"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "nope"}, "x.type"),
        ({"type": []}, "x.type"),
        ({"type": [1]}, "x.type"),
        ({"properties": {"a": {"type": "nope"}}}, "x.properties.a.type"),
        ({"properties": []}, "x.properties"),
        ({"items": 3}, "x.items"),
        ({"enum": []}, "x.enum"),
        ({"anyOf": []}, "x.anyOf"),
        ({"anyOf": [{"required": [1]}]}, "x.anyOf.0.required"),
        ({"$ref": "#/nowhere"}, "x.$ref"),
        ({"$ref": "https://example.com/schema"}, "x.$ref"),
        ({"$ref": "#"}, "x.$ref"),
        ({"properties": {"const": {"$ref": "#/nowhere"}}}, "x.properties.const.$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "x"),
        (None, "x"),
        ([], "x"),
    ],
)
def test_what_does_not_compile_is_a_400_that_names_the_place(schema: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        constrain(schema, "x")

    assert refused.value.message.startswith(path)


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {f"p{index}": {} for index in range(NODES_MAX)}},
        deep(DEPTH_MAX + 1),
        {"const": "x" * 2_000},
    ],
)
def test_what_would_compile_to_something_huge_is_a_422(schema: Any) -> None:
    with pytest.raises(Unsupported):
        constrain(schema, "x")


def test_just_below_each_bound_is_taken() -> None:
    constrain({"properties": {f"p{index}": {} for index in range(NODES_MAX - 1)}}, "x")
    constrain(deep(DEPTH_MAX), "x")
    constrain({"enum": list(range(CHOICES_MAX))}, "x")


def test_a_choice_of_tools_has_the_name_first_and_moves_references_to_where_they_stand() -> None:
    node = {
        "$ref": "#/$defs/node",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }

    chosen = choose([("plain", {}, "a"), ("tree", node, "b")])

    name, tree = chosen["anyOf"][1]["properties"].items()
    place = "#/anyOf/1/properties/input/$defs/node"
    assert name == ("name", {"const": "tree"})
    assert tree[1]["$ref"] == place
    assert tree[1]["$defs"]["node"]["properties"]["next"]["$ref"] == place
    assert all(branch["additionalProperties"] is False for branch in chosen["anyOf"])


def check_words(schema: dict[str, Any]) -> None:
    assert set(schema) <= WORDS
    kinds = schema.get("type", "object")
    assert set(kinds if isinstance(kinds, list) else [kinds]) <= set(TYPES)
    assert schema.get("minItems", 0) <= schema.get("maxItems", ITEMS_MAX) <= ITEMS_MAX
    inner = [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    for name in ("properties", "$defs", "definitions"):
        inner += schema.get(name, {}).values()
    for name in ("anyOf", "oneOf", "allOf"):
        inner += schema.get(name, [])
    for part in inner:
        check_words(part)


words = st.sampled_from([*sorted(WORDS), "pattern", "minLength", "not", "if", "$schema"])
leaves = st.none() | st.booleans() | st.integers() | st.sampled_from([*TYPES, "#", "#/$defs/a", "a", "nope"])
schemas = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.just("a"), inner, max_size=5)
)


@given(st.dictionaries(words, schemas, max_size=6))
def test_whatever_comes_is_bounded_or_refused(schema: dict[str, Any]) -> None:
    try:
        cleaned = constrain(schema, "x")
    except Refused as refused:
        assert refused.message.startswith("x")
    else:
        check_words(cleaned)
        constrain(cleaned, "x")
