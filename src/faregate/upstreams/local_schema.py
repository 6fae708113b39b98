"""A caller's JSON schema as the embedded model can be held to it: a grammar is made of it, so it is judged first.

One rule: what leaves here compiles, and compiles small. The model's own compiler answers a schema that it cannot read
with an unconstrained text, and one such as `minLength: 3, maxLength: 2` with all the memory of the machine.

    schema ──bounds, types, references──> InvalidRequest or Unsupported, with the path
           ──words that shape──> kept          ──words that only narrow (pattern, minimum, ...)──> left out
"""

from collections.abc import Callable
from typing import Any, Final

from faregate.core.errors import InvalidRequest, Unsupported

Schema = dict[str, Any]

NODES_MAX: Final = 256
"""Schemas within one schema. A grammar grows faster than its schema; at 500 optional properties it is given up."""
DEPTH_MAX: Final = 24
CHOICES_MAX: Final = 256
"""Values of an `enum`."""
CHOICE_CHARS_MAX: Final = 1_024
ITEMS_MAX: Final = 16
"""`minItems` and `maxItems` are held up to this: each repetition is a rule of its own in a grammar."""

TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_LISTS: Final = ("anyOf", "oneOf", "allOf")
_TABLES: Final = ("properties", "$defs", "definitions")


def constrain(schema: object, path: str, place: str = "#") -> Schema:
    """The schema that the model is held to: always of an object where the caller says nothing else.

    `place` is where it will stand in the document that is sent; its references are written for there.
    """
    cleaner = _Cleaner(path, place)
    cleaned = cleaner.clean(schema, path, 0)
    if not any(name in cleaned for name in ("type", "$ref", "enum", "const", *_LISTS)):
        cleaned["type"] = "object"
    for target, found_at in cleaner.references:
        _follow(target, cleaned, place, found_at)
    return cleaned


def choose(tools: list[tuple[str, object, str]]) -> Schema:
    """One schema for "call one of these tools" (name, schema, path): `{"name": ..., "input": ...}`, in this order."""
    branches = []
    for index, (name, schema, path) in enumerate(tools):
        inner = constrain(schema, path, f"#/anyOf/{index}/properties/input")
        properties = {"name": {"const": name}, "input": inner}
        branch = {"type": "object", "properties": properties, "required": ["name", "input"]}
        branches.append({**branch, "additionalProperties": False})
    return {"anyOf": branches}


class _Cleaner:
    """Walks a schema once and counts what it sees."""

    def __init__(self, path: str, place: str) -> None:
        self._path = path
        self._place = place
        self._nodes = 0
        self.references: list[tuple[str, str]] = []
        """As the caller wrote them, and where."""

    def clean(self, schema: object, path: str, depth: int) -> Schema:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise Unsupported(f"{self._path}: The offline model holds to schemas of at most {NODES_MAX} parts")
        if depth > DEPTH_MAX:
            raise Unsupported(f"{self._path}: The offline model holds to schemas at most {DEPTH_MAX} parts deep")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise InvalidRequest(f"{path}: Input should be an object")
        if "$ref" in schema:
            return self._reference(schema, path, depth)
        kept: Schema = {}
        for name, judge in self._words().items():
            if name in schema:
                kept[name] = judge(schema[name], f"{path}.{name}", depth + 1)
        _hold_items(schema, kept)
        if kept.get("properties"):
            # Left open, a small model writes on: what nobody asked for, until its tokens are spent.
            kept.setdefault("additionalProperties", False)
        if isinstance(required := kept.get("required"), list):
            kept["required"] = [name for name in required if name in kept.get("properties", {})]
        return kept

    def _words(self) -> dict[str, Callable[[Any, str, int], Any]]:
        judges: dict[str, Callable[[Any, str, int], Any]] = {
            "type": _types, "enum": _choices, "const": _choice, "required": _names, "items": self.clean,
            "additionalProperties": self._additional,
        }  # fmt: skip
        judges.update(dict.fromkeys(_TABLES, self._table))
        judges.update(dict.fromkeys(_LISTS, self._list))
        return judges

    def _reference(self, schema: Schema, path: str, depth: int) -> Schema:
        target = schema["$ref"]
        if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):
            raise InvalidRequest(f"{path}.$ref: The offline model follows references within the schema only (#/...)")
        self.references.append((target, path))
        kept: Schema = {"$ref": self._place + target[1:]}
        for name in ("$defs", "definitions"):
            if name in schema:
                kept[name] = self._table(schema[name], f"{path}.{name}", depth + 1)
        return kept

    def _table(self, value: Any, path: str, depth: int) -> Schema:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{path}: Input should be an object")
        # A property that may not be there (false) is left out: nothing would ever be written for it.
        return {name: self.clean(part, f"{path}.{name}", depth) for name, part in value.items() if part is not False}

    def _list(self, value: Any, path: str, depth: int) -> list[Schema]:
        if not isinstance(value, list) or not value:
            raise InvalidRequest(f"{path}: Input should be an array with at least one schema")
        return [self.clean(part, f"{path}.{index}", depth) for index, part in enumerate(value)]

    def _additional(self, value: Any, path: str, depth: int) -> bool | Schema:
        return value if isinstance(value, bool) else self.clean(value, path, depth)


def _types(value: Any, path: str, _: int) -> Any:
    names = value if isinstance(value, list) else [value]
    if not names or any(name not in TYPES for name in names if isinstance(name, str)):
        raise InvalidRequest(f"{path}: Input should be one of {', '.join(TYPES)}")
    if not all(isinstance(name, str) for name in names):
        raise InvalidRequest(f"{path}: Input should be a string")
    return value


def _choices(value: Any, path: str, depth: int) -> list[Any]:
    if not isinstance(value, list) or not 0 < len(value) <= CHOICES_MAX:
        raise InvalidRequest(f"{path}: Input should be an array of 1 to {CHOICES_MAX} values")
    return [_choice(part, f"{path}.{index}", depth) for index, part in enumerate(value)]


def _choice(value: Any, path: str, _: int) -> Any:
    if len(repr(value)) > CHOICE_CHARS_MAX:
        raise Unsupported(f"{path}: The offline model holds to values of at most {CHOICE_CHARS_MAX} characters")
    return value


def _names(value: Any, path: str, _: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InvalidRequest(f"{path}: Input should be an array of strings")
    return value


def _hold_items(schema: Schema, kept: Schema) -> None:
    """Small counts are held to; others, and those that contradict each other, are the caller's to check."""
    least, most = schema.get("minItems", 0), schema.get("maxItems", ITEMS_MAX)
    if type(least) is int and type(most) is int and 0 <= least <= most <= ITEMS_MAX:
        kept.update({name: schema[name] for name in ("minItems", "maxItems") if name in schema})


def _follow(target: str, root: Schema, place: str, path: str) -> None:
    """A reference must lead to a schema that says something: a chain that only leads on would never end."""
    seen: set[str] = set()
    while True:
        if target in seen:
            raise InvalidRequest(f"{path}.$ref: {target[:64]!r} leads only to itself")
        seen.add(target)
        found = _find(target, root)
        if not isinstance(found, dict):
            raise InvalidRequest(f"{path}.$ref: {target[:64]!r} is not found in the schema")
        onward = found.get("$ref")
        if not isinstance(onward, str):
            return
        target = "#" + onward[len(place) :]


def _find(target: str, root: Schema) -> Any:
    found: Any = root
    for step in target.split("/")[1:]:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isascii() and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return None
    return found
