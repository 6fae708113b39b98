"""What several commands share: options, and the settings that a command runs with."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from faregate.settings import Settings, load

if TYPE_CHECKING:
    from faregate.cli.door import Door

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The settings file; see docs/settings.md.")
]

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def settings_of(context: typer.Context) -> Settings:
    """Read the settings for a command that serves nobody."""
    return load(os.environ, folder=Path.cwd(), file=context.find_root().obj, serving=False)


def door_of(context: typer.Context, *, writes: bool = False) -> "Door":
    """Open the admin API for a command."""
    from faregate.cli.door import Door  # noqa: PLC0415  # `--help` does not wait for a client and a store

    return Door(settings_of(context), writes=writes)


def named(path: str, name: str) -> str:
    """Put a name into a path, whatever characters it has."""
    return path.format(name=quote(name, safe=""))


def expiry(text: str | None) -> str | None:
    """Turn "30d" into a time from now, as the admin API takes it."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a time span: a number and s, m, h, d or w, as 30d")
    later = datetime.now(UTC) + timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    return later.isoformat()


def group(help_text: str) -> Any:
    """A command that only holds others."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
