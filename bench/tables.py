"""Tables: what is printed, written into RESULTS.md, and drawn.

One rule: a table carries its own title, note and bars, so that no one need know where its figures came from.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Bar(NamedTuple):
    """A figure to draw."""

    group: str
    label: str
    value: float


class Table(NamedTuple):
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[Bar, ...] = ()
    measure: str = ""
    """What the bars are of."""
    note: str = ""

    @property
    def slug(self) -> str:
        """Its name as a file's."""
        return "-".join("".join(sign if sign.isalnum() else " " for sign in self.title.lower()).split())

    def markdown(self) -> str:
        """As it is printed and written."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{drawn}\n\n{self.note}\n" if self.note else f"{drawn}\n"


def number(value: float, digits: int = 2) -> str:
    """A figure with thousands marked."""
    return f"{value:,.{digits}f}"


def span(values: Sequence[float], digits: int = 2) -> str:
    """The median of some ratios and how far they lie apart."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if len(ordered) % 2 else sum(ordered[len(ordered) // 2 - 1 :][:2]) / 2
    shown = number(middle, digits)
    return shown if len(ordered) == 1 else f"{shown} ({number(ordered[0], digits)}–{number(ordered[-1], digits)})"
