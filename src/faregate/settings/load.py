"""Settings from their three sources, whole or not at all.

    find the file -> lay environment and flags over it -> check the shape -> check the rules -> resolve secrets, paths

The rule: this is the only place that reads the environment. What it gives is frozen, and complete.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from faregate.core.costs import Cost
from faregate.core.place import Place, Postgres
from faregate.settings.check import POSTGRES_SCHEMES, check, cost_of, key_variables
from faregate.settings.layers import Layers, SettingsError
from faregate.settings.routing import Breaker, Retry, Route
from faregate.settings.shape import (
    Admin,
    Batches,
    Database,
    File,
    Idempotency,
    Limits,
    Log,
    Secret,
    Server,
)
from faregate.settings.upstream import Auth, Kind, Timeouts, UpstreamEntry

ANTHROPIC_URL: Final = "https://api.anthropic.com"
OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_KEY: Final = "ANTHROPIC_API_KEY"
_URLS: Final = {
    "anthropic": ANTHROPIC_URL,
    "openai": OPENAI_URL,
    "bedrock": "https://bedrock-runtime.{region}.amazonaws.com",
    "vertex": "https://{region}-aiplatform.googleapis.com",
}
_VERTEX_URLS: Final = {
    "global": "https://aiplatform.googleapis.com",
    "us": "https://aiplatform.us.rep.googleapis.com",
    "eu": "https://aiplatform.eu.rep.googleapis.com",
}
"""Of the regions that are more than one."""
BEDROCK_KEY: Final = "AWS_BEARER_TOKEN_BEDROCK"
"""Where Amazon's own tools look for a Bedrock API key."""
FILE_NAME: Final = "faregate.toml"

SOCKET_PATH_BYTES_MAX: Final = 103
"""What the shortest `sun_path` among our systems holds, less its closing zero."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """One place where calls are sent, with its secret at hand and its paths absolute."""

    name: str
    kind: Kind
    base_url: str = ""
    api_keys: tuple[Secret, ...] = ()
    """Used in turn; none where none is sent, or where nobody is served."""
    auth: Auth = "x-api-key"
    models: dict[str, str] = msgspec.field(default_factory=dict)
    """What it calls them, by the catalog's ids."""
    batches: bool = False
    """Whether it takes batches of its own."""
    ca_file: Path | None = None
    proxy: str | None = None
    region: str = ""
    project: str = ""
    profile: str | None = None
    credentials_file: Path | None = None
    betas_withheld: tuple[str, ...] = ()
    model_file: Path | None = None
    connections_max: int = 10_000
    timeouts: Timeouts = Timeouts()


class CatalogPaths(msgspec.Struct, frozen=True):
    """The operator's own catalog files, absolute."""

    files: tuple[Path, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a gateway or a command is told."""

    home: Path
    """FAREGATE_HOME: the data folder. It need not exist yet."""
    file: Path | None
    """The settings file that was read, None where there is none."""
    server: Server
    admin: Admin
    admin_token: Secret | None
    """None: no admin listener."""
    database: Place
    """The SQLite file, absolute; or the PostgreSQL database."""
    pepper: Secret | None
    """FAREGATE_PEPPER: 64 hexadecimal digits; None where it is kept beside the file, or in the database."""
    upstreams: tuple[Upstream, ...]
    configured: bool
    """Whether the operator named the upstreams; False where we chose by the environment."""
    routes: tuple[Route, ...]
    costs: tuple[Cost, ...]
    """What upstreams cost the operator."""
    catalog: CatalogPaths
    retry: Retry
    breaker: Breaker
    limits: Limits
    idempotency: Idempotency
    batches: Batches
    log: Log

    @property
    def socket(self) -> Path:
        """Where a running server takes its owner's commands."""
        return self.home / "admin.sock"


def load(
    environ: Mapping[str, str],
    *,
    folder: Path,
    file: Path | None = None,
    flags: Mapping[tuple[str, str], object] | None = None,
    serving: bool = True,
) -> Settings:
    """Read everything. `folder` is the current one; `flags` are (section, key) -> value. Raises SettingsError.

    A command that serves nobody (`serving` False) needs no provider's key, so a variable that is not set is no error.
    """
    home = _home(environ, folder)
    layers = Layers(_find_file(environ, folder, home, file))
    layers.add_environment(environ)
    for (section, name), value in (flags or {}).items():
        layers.add_flag(section, name, value)
    shape = layers.decode()
    check(shape, layers, environ, serving=serving)
    return _resolved(shape, layers, environ, home)


def _home(environ: Mapping[str, str], folder: Path) -> Path:
    home = folder / Path(environ.get("FAREGATE_HOME") or "~/.faregate").expanduser()
    socket = str(home / "admin.sock")
    if len(socket.encode()) > SOCKET_PATH_BYTES_MAX:
        raise SettingsError(
            f"FAREGATE_HOME: {home} is too long: the socket in it may have a path of at most "
            f"{SOCKET_PATH_BYTES_MAX} bytes, so choose a shorter folder"
        )
    return home


def _find_file(environ: Mapping[str, str], folder: Path, home: Path, file: Path | None) -> Path | None:
    """The file that was named, which must exist; else the one in the current folder or the data folder, if any."""
    named = file or (Path(environ["FAREGATE_CONFIG"]) if environ.get("FAREGATE_CONFIG") else None)
    if named is not None:
        return folder / named.expanduser()
    return next((found for found in (folder / FILE_NAME, home / FILE_NAME) if found.is_file()), None)


def _resolved(shape: File, layers: Layers, environ: Mapping[str, str], home: Path) -> Settings:
    beside = layers.file.parent if layers.file is not None else home
    token = environ.get(shape.admin.token_env)
    chosen = shape.upstreams or (_chosen(environ),)
    files = tuple(beside / Path(name).expanduser() for name in shape.catalog.files)
    return Settings(
        home=home,
        file=layers.file,
        server=shape.server,
        admin=shape.admin,
        admin_token=Secret(token) if token else None,
        database=_database(shape.database, home),
        pepper=_pepper(environ),
        upstreams=tuple(_upstream(entry, environ, beside) for entry in chosen),
        configured=bool(shape.upstreams),
        routes=shape.routes,
        costs=tuple(cost_of(entry) for entry in shape.costs),
        catalog=CatalogPaths(files),
        retry=shape.retry,
        breaker=shape.breaker,
        limits=shape.limits,
        idempotency=shape.idempotency,
        batches=shape.batches,
        log=shape.log,
    )


def _chosen(environ: Mapping[str, str]) -> UpstreamEntry:
    """Where nothing is configured: Anthropic when its key is at hand, else the model that we run ourselves."""
    if environ.get(ANTHROPIC_KEY):
        return UpstreamEntry(name="anthropic", kind="anthropic", api_key_env=ANTHROPIC_KEY)
    return UpstreamEntry(name="local", kind="local")


def _upstream(entry: UpstreamEntry, environ: Mapping[str, str], beside: Path) -> Upstream:
    variables = key_variables(entry)
    if entry.kind == "bedrock" and not variables and entry.profile is None:
        variables = (BEDROCK_KEY,)
    keys = [environ.get(variable) for variable in variables]
    base_url = entry.base_url or _public_url(entry)
    is_anthropics_own = entry.kind == "anthropic" and base_url.rstrip("/") == ANTHROPIC_URL
    return Upstream(
        name=entry.name,
        kind=entry.kind,
        base_url=base_url,
        api_keys=tuple(Secret(key) for key in keys if key),
        auth=entry.auth or ("bearer" if entry.kind == "openai" else "x-api-key"),
        models=entry.models,
        batches=is_anthropics_own if entry.batches is None else entry.batches,
        ca_file=beside / Path(entry.ca_file).expanduser() if entry.ca_file else None,
        proxy=entry.proxy,
        region=entry.region or "",
        project=entry.project or "",
        profile=entry.profile,
        credentials_file=beside / Path(entry.credentials_file).expanduser() if entry.credentials_file else None,
        betas_withheld=entry.betas_withheld,
        model_file=beside / Path(entry.model_file).expanduser() if entry.model_file else None,
        connections_max=entry.connections_max,
        timeouts=entry.timeouts,
    )


def _public_url(entry: UpstreamEntry) -> str:
    """Where an upstream is when the file does not say."""
    region = entry.region
    if entry.kind == "vertex" and region in _VERTEX_URLS:
        return _VERTEX_URLS[region]
    return _URLS.get(entry.kind, "").format(region=region)


def _database(database: Database, home: Path) -> Place:
    """The place of a URL that `check` has passed; a relative file is in FAREGATE_HOME."""
    if database.url.startswith(POSTGRES_SCHEMES):
        return Postgres(database.url)
    return home / Path(database.url.removeprefix("sqlite:///")).expanduser()


def _pepper(environ: Mapping[str, str]) -> Secret | None:
    text = environ.get("FAREGATE_PEPPER")
    if not text:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise SettingsError("FAREGATE_PEPPER: 64 hexadecimal digits, as `openssl rand -hex 32` writes them")
    return Secret(text)
