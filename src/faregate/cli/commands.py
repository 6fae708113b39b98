"""The command line, put together.

The rule: building it imports nothing that a command needs only when it runs; `faregate --help` is to be there at once.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from faregate import __version__
from faregate.cli.books import audit, price_group, usage
from faregate.cli.catalog import catalog_group
from faregate.cli.doctor import doctor, migrate
from faregate.cli.keys import key_group
from faregate.cli.options import Config, group
from faregate.cli.wallets import wallet_group
from faregate.settings import load


def commands() -> typer.Typer:
    """Build the commands."""
    root: typer.Typer = group("A prepaid, metered gateway for Claude models.")
    root.callback()(common)
    root.command()(serve)
    root.add_typer(wallet_group(), name="wallet")
    root.add_typer(key_group(), name="key")
    root.command()(usage)
    root.add_typer(price_group(), name="price")
    root.add_typer(catalog_group(), name="catalog")
    root.command()(audit)
    root.command()(doctor)
    root.command()(migrate)
    return root


def _version(asked: bool) -> None:  # noqa: FBT001  # as the library calls it
    if asked:
        typer.echo(f"faregate {__version__}")
        raise typer.Exit


def common(
    context: typer.Context,
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A prepaid, metered gateway for Claude models."""
    context.obj = config


def serve(
    context: typer.Context,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")] = None,
) -> None:
    """Run the gateway."""
    given = {("server", "host"): host, ("server", "port"): port}
    settings = load(
        os.environ,
        folder=Path.cwd(),
        file=config or context.find_root().obj,
        flags={key: value for key, value in given.items() if value is not None},
    )
    from faregate.app import run  # noqa: PLC0415  # a wrong setting is told before a server is imported

    raise typer.Exit(run(settings, command=called_again(sys.argv[0], os.environ)))


def called_again(program: str, environ: Mapping[str, str]) -> str:
    """How this program is called from another terminal, in any folder, for the same data."""
    file = Path(program)
    found = shutil.which(file.name, path=environ.get("PATH"))
    if file.suffix == ".py":
        command = f"{shlex.quote(sys.executable)} -m faregate"
    elif found is not None and file.exists() and Path(found).samefile(file):
        command = file.name
    else:
        command = shlex.quote(str(file.absolute()))
    home = environ.get("FAREGATE_HOME")
    return command if not home else f"FAREGATE_HOME={shlex.quote(str(Path(home).expanduser().absolute()))} {command}"
