"""What a command prints: JSON and nothing else when it was asked for, else aligned columns for people.

The rule: JSON is what the admin API answered, unchanged. Columns are for eyes: they may shorten a time, and group
digits.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

WIDE: Final = 10_000
"""Columns for a pipe: what reads us there wants whole lines, not lines folded to a terminal."""


def print_json(answer: Any) -> None:
    """Print what the API answered."""
    sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Align rows under their headings; numbers to the right."""
    from rich.console import Console  # noqa: PLC0415  # a command that prints JSON does not wait for it
    from rich.table import Table  # noqa: PLC0415

    cells = [[_cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="", show_edge=False)
    for place, column in enumerate(columns):
        numeric = bool(cells) and all(re.fullmatch(r"-?[\d,]+(\.\d+)?|-", row[place]) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else WIDE
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """One fact a line; what is not so is left out."""
    known = [(name, value) for name, value in facts if value not in (None, [], "")]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        sys.stdout.write(f"{name:<{width}}  {_cell(value)}\n")


def grouped(amount: str) -> str:
    """Group an amount's digits: "5000000.5" -> "5,000,000.5"."""
    whole, dot, rest = amount.partition(".")
    return re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", whole) + dot + rest


def when(time: str | None) -> str:
    """A time to the second, as a person needs it: "2026-11-22 20:15:03Z"."""
    return "-" if time is None else re.sub(r"T(\d\d:\d\d:\d\d)(\.\d+)?", r" \1", time)


def _cell(value: Any) -> str:
    """Make a value safe to print: a wallet may be named anything, and a terminal obeys control characters."""
    text = "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)
