"""The commands' reference page, made from the commands: `python -m faregate.cli.page > docs/commands.md`.

The rule: the page is never edited. A test compares it with what is generated, so a changed flag fails until it is told.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

import typer

from faregate.cli.commands import commands

_HEAD: Final = """\
# Commands

Made from the commands themselves by `make docs`; do not edit this page.

Every command that prints data takes `--json`, and then prints JSON and nothing else on standard output. Commands work
whether or not the server runs: they go to it through a socket in `FAREGATE_HOME` that only its owner can open, and to
the database itself when no server runs. Exit code 0 is done; 1 is refused, with one line on standard error; 2 is cannot
start (bad settings, a busy port, an unwritable folder, a database of a newer version or in use), and nothing was
changed.
"""


WIDTH: Final = 110
"""Of the help, so that the page does not depend on the terminal it is made in."""


def page() -> str:
    """Write the page."""
    root = typer.main.get_command(commands())
    return "\n".join([_HEAD, *_sections(root, "faregate")])


def _sections(command: Any, path: str, parent: typer.Context | None = None) -> Iterator[str]:
    context = typer.Context(command, parent=parent, info_name=path.rpartition(" ")[2], terminal_width=WIDTH)
    lines = [line.rstrip() for line in command.get_help(context).splitlines()]
    yield f"## `{path}`\n\n```text\n" + "\n".join(lines).strip() + "\n```\n"
    for name, child in getattr(command, "commands", {}).items():
        yield from _sections(child, f"{path} {name}", context)


if __name__ == "__main__":
    sys.stdout.write(page())
