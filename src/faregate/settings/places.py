"""Where a setting stands: in the text of the file, and in the declared shape.

TOML readers do not tell on which line a key stood, so `line_of` finds it again. It knows tables, arrays of tables and
dotted keys, which is all that this file needs; where it finds less (an inline table), it gives the nearest line.
"""

import difflib
import re
from collections.abc import Iterable

import msgspec

from faregate.settings.shape import File

Key = tuple[str | int, ...]
"""("upstreams", 0, "name")."""

_ARRAY = re.compile(r"\s*\[\[\s*([\w.\"' -]+?)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.\"' -]+?)\s*\]")
_PAIR = re.compile(r"\s*([\w.\"' -]+?)\s*=")


def line_of(text: str, key: Key) -> int:
    """Find the line (from 1) of a key; else of the nearest table around it; else line 1."""
    best, best_length = 1, 0
    table: Key = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _ARRAY.match(line):
            counts[header[1]] = counts.get(header[1], -1) + 1
            here = table = (*_steps(header[1]), counts[header[1]])
        elif header := _TABLE.match(line):
            first, *rest = _steps(header[1])
            here = table = (first, counts[str(first)], *rest) if first in counts else (first, *rest)
        elif pair := _PAIR.match(line):
            here = (*table, *_steps(pair[1]))
        else:
            continue
        if len(here) > best_length and here == key[: len(here)]:
            best, best_length = number, len(here)
    return best


def key_of(path: str) -> Key:
    """Read a path as msgspec writes it, `.upstreams[0].name`."""
    return tuple(int(index) if index else name for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path))


def dotted(key: Key) -> str:
    """Write a key as a person does, `upstreams.0.name`."""
    return ".".join(str(step) for step in key)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name; empty where no known one is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def type_at(key: Key) -> msgspec.inspect.Type | None:
    """What the shape declares at a key; None where it declares nothing."""
    here: msgspec.inspect.Type = msgspec.inspect.type_info(File)
    for step in key:
        if isinstance(here, msgspec.inspect.StructType):
            found = [field.type for field in here.fields if field.name == step]
            if not found:
                return None
            here = bare(found[0])
        elif isinstance(here, msgspec.inspect.VarTupleType):
            here = bare(here.item_type)
        else:
            return None
    return here


def names_at(key: Key) -> list[str]:
    """The settings of a table."""
    here = type_at(key)
    return [field.name for field in here.fields] if isinstance(here, msgspec.inspect.StructType) else []


def choices_at(key: Key) -> list[str]:
    """The words that a setting takes; empty where it takes any."""
    here = type_at(key)
    return [str(value) for value in here.values] if isinstance(here, msgspec.inspect.LiteralType) else []


def bare(declared: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """Take descriptions and an optional None away."""
    if isinstance(declared, msgspec.inspect.Metadata):
        return bare(declared.type)
    if isinstance(declared, msgspec.inspect.UnionType):
        return next(bare(t) for t in declared.types if not isinstance(t, msgspec.inspect.NoneType))
    return declared


def _steps(name: str) -> Key:
    return tuple(step.strip().strip("\"'") for step in name.split("."))
