"""Charts: the bars of a table as an SVG, written by hand. On a logarithmic axis where the figures lie far apart."""

import math
from html import escape
from typing import Final

from bench.tables import Bar, Table, number

WIDTH: Final = 720
LABEL: Final = 150
VALUE: Final = 90
BAR: Final = 18
STEP: Final = 24
FAR_APART: Final = 30
"""From this ratio on, the smallest bar of a linear axis could not be seen."""
OURS: Final = "faregate"
COLOURS: Final = {True: "#1b6e53", False: "#9aa5b1"}


def svg(table: Table) -> str:
    """The chart of a table's bars."""
    groups = list(dict.fromkeys(bar.group for bar in table.bars))
    drawn, top = list[str](), 58
    for group in groups:
        bars = [bar for bar in table.bars if bar.group == group]
        if group:
            drawn.append(_text(12, top + 14, group, weight="600"))
            top += STEP
        far = _far(bars)
        for bar in bars:
            drawn += _bar(bar, top, _part(bar.value, bars, far=far))
            top += STEP
        if far:
            drawn.append(_text(LABEL, top + 12, "logarithmic", size=11, colour="#5d6873"))
            top += 18
        top += 8
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 6}" viewBox="0 0 {WIDTH} {top + 6}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(table.title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(12, 24, table.title, size=16, weight="600"),
        _text(12, 44, table.measure, size=12, colour="#5d6873"),
    ]
    return "\n".join([*head, *drawn, "</svg>"]) + "\n"


def _far(bars: list[Bar]) -> bool:
    values = [bar.value for bar in bars if bar.value > 0]
    return bool(values) and max(values) > FAR_APART * min(values)


def _part(value: float, bars: list[Bar], *, far: bool) -> float:
    """How much of the room a bar takes, from 0 to 1."""
    values = [bar.value for bar in bars if bar.value > 0]
    if value <= 0 or not values:
        return 0.0
    if not far:
        return value / max(values)
    least = math.log10(min(values)) - 0.3
    return (math.log10(value) - least) / (math.log10(max(values)) - least)


def _bar(bar: Bar, top: int, part: float) -> list[str]:
    wide = max(1.0, part * (WIDTH - LABEL - VALUE))
    colour = COLOURS[bar.label.startswith(OURS)]
    shown = number(bar.value, 0 if abs(bar.value) >= 100 else 2)
    return [
        _text(LABEL - 8, top + 13, bar.label, anchor="end"),
        f'<rect x="{LABEL}" y="{top}" width="{wide:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
        _text(round(LABEL + wide + 6), top + 13, shown),
    ]


def _text(
    left: int,
    top: int,
    text: str,
    *,
    size: int = 13,
    weight: str = "400",
    anchor: str = "start",
    colour: str = "#1f2933",
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{left}" y="{top}" {style}>{escape(text)}</text>'
