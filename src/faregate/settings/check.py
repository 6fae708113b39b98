"""The rules that tie settings to one another, to the environment, and to files.

The rule: what can be known to be wrong before anything starts is said here, at the key that is wrong.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from faregate.core import costs
from faregate.core.pricing import COLUMNS
from faregate.settings.layers import Layers
from faregate.settings.places import Key, did_you_mean
from faregate.settings.routing import Cost, Route
from faregate.settings.shape import UNLIMITED, File
from faregate.settings.upstream import UpstreamEntry

_ONLY: Final = {
    "base_url": ("anthropic", "openai", "bedrock", "vertex"),
    "api_key_env": ("anthropic", "openai", "bedrock"),
    "api_key_envs": ("anthropic", "openai"),
    "auth": ("anthropic", "openai"),
    "models": ("anthropic", "openai", "bedrock", "vertex"),
    "batches": ("anthropic",),
    "ca_file": ("anthropic", "openai", "bedrock", "vertex"),
    "proxy": ("anthropic", "openai", "bedrock", "vertex"),
    "region": ("bedrock", "vertex"),
    "project": ("vertex",),
    "profile": ("bedrock",),
    "credentials_file": ("vertex",),
    "betas_withheld": ("bedrock", "vertex"),
    "model_file": ("local",),
}
"""Settings that mean something to some kinds only: where they mean nothing, they are a mistake, not a wish."""

_VENDORS: Final = {"anthropic": "api.anthropic.com", "openai": "api.openai.com"}
_NEEDED: Final = {
    "bedrock": {"region": "the AWS region where calls are sent, as us-east-1"},
    "vertex": {
        "region": "the Google Cloud region where calls are sent, as us-east5, or global",
        "project": "the id of the Google Cloud project that calls are billed to",
    },
}
"""What a cloud cannot do without, and what it is."""
_LIBRARIES: Final = {"bedrock": ("botocore",), "vertex": ("google.auth", "requests")}
"""The vendors' own libraries, which are installed with the extra of the kind's name."""

POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")

Problem = tuple[Key, str]


def check(file: File, layers: Layers, environ: Mapping[str, str], *, serving: bool) -> None:
    """Raise SettingsError for the first rule that is broken; providers' keys are asked for where we serve."""
    for key, sentence in _problems(file, layers, environ, serving=serving):
        raise layers.error(key, sentence)


def _problems(file: File, layers: Layers, environ: Mapping[str, str], *, serving: bool) -> Iterator[Problem]:
    beside = layers.file.parent if layers.file is not None else Path()
    yield from _server_problems(file)
    yield from _database_problems(file.database.url)
    try:
        _ = file.limits.abandon_nanos
    except ValueError as error:
        yield ("limits", "abandon_budget"), f"{error}; or the word {UNLIMITED!r}"
    for index, entry in enumerate(file.upstreams):
        for name, sentence in _upstream_problems(entry, beside):
            yield ("upstreams", index, name), sentence
        if serving:
            for sentence in _missing_library(entry.kind):
                yield ("upstreams", index, "kind"), sentence
        for variable in key_variables(entry):
            if serving and not environ.get(variable):
                yield (
                    ("upstreams", index, "api_key_envs" if entry.api_key_envs else "api_key_env"),
                    f"the environment variable {variable} is not set: export it, or remove this upstream",
                )
    if file.batches.public_url:
        for _, sentence in _url_problems("public_url", file.batches.public_url, ("http", "https")):
            yield ("batches", "public_url"), sentence
    yield from _duplicates("upstreams", [entry.name for entry in file.upstreams], "name")
    known = [entry.name for entry in file.upstreams]
    known = known or ["anthropic" if environ.get("ANTHROPIC_API_KEY") else "local"]
    yield from _route_problems(file, known)
    yield from _cost_problems(file, known)
    for index, name in enumerate(file.catalog.files):
        if not (beside / Path(name).expanduser()).is_file():
            yield ("catalog", "files", index), f"there is no file {beside / name}"


def key_variables(entry: UpstreamEntry) -> tuple[str, ...]:
    """The environment variables that hold an upstream's keys."""
    return entry.api_key_envs or ((entry.api_key_env,) if entry.api_key_env else ())


def _server_problems(file: File) -> Iterator[Problem]:
    for index, cidr in enumerate(file.server.trusted_proxies):
        try:
            ipaddress.ip_network(cidr, strict=False)
        except ValueError:
            yield ("server", "trusted_proxies", index), f"{cidr!r} is not an address or a CIDR, as 10.0.0.0/8"
    same = (file.server.host, file.server.port) == (file.admin.host, file.admin.port)
    if same and file.server.port != 0:
        yield ("admin", "port"), f"{file.admin.port} is the callers' port too: the admin API needs one of its own"


def _database_problems(url: str) -> Iterator[Problem]:
    key = ("database", "url")
    if url.startswith(POSTGRES_SCHEMES):
        yield from _postgres_problems(key, url)
    elif not url.startswith("sqlite:///"):
        name = url.partition(":")[0]
        yield key, f"{name!r} is no database that we know: use sqlite:///path or postgresql://user@host/name"
    elif not url.removeprefix("sqlite:///") or url.endswith("/"):
        yield key, f"{url!r} names no file: use sqlite:///faregate.db or sqlite:////an/absolute/path.db"
    elif "?" in url or ":memory:" in url:
        yield key, f"{url!r}: the ledger is a plain file: no options, no database in memory"


def _postgres_problems(key: Key, url: str) -> Iterator[Problem]:
    # The URL is not repeated: it may hold a password.
    try:
        parts = urlsplit(url)
        named = len(parts.path) > 1 and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.fragment or " " in url:
        yield key, "is not a URL like postgresql://user:password@host:5432/name, with the database's name at its end"


def _upstream_problems(entry: UpstreamEntry, beside: Path) -> Iterator[tuple[str, str]]:
    for name, kinds in _ONLY.items():
        if getattr(entry, name) not in (None, (), {}) and entry.kind not in kinds:
            yield name, f"means nothing to an upstream of kind {entry.kind!r}, only to {', '.join(kinds)}"
    if entry.api_key_env is not None and entry.api_key_envs:
        yield "api_key_envs", "stands beside api_key_env: name all variables here, and leave the other out"
    if entry.kind in _VENDORS and not key_variables(entry) and _is_vendors(entry):
        yield "api_key_env", f"is required: name the environment variable with the API key of {entry.name!r}"
    yield from _cloud_problems(entry)
    for model, theirs in entry.models.items():
        if not theirs:
            yield "models", f"{model!r} is called nothing here: write the upstream's own name for it"
    if entry.base_url is not None:
        yield from _url_problems("base_url", entry.base_url, ("https", "http"))
    if entry.proxy is not None:
        yield from _url_problems("proxy", entry.proxy, ("http",))
    for name in ("ca_file", "model_file", "credentials_file"):
        path = getattr(entry, name)
        if path is not None and not (beside / Path(path).expanduser()).is_file():
            yield name, f"there is no file {beside / path}"


def _cloud_problems(entry: UpstreamEntry) -> Iterator[tuple[str, str]]:
    for name, what in _NEEDED.get(entry.kind, {}).items():
        if getattr(entry, name) is None:
            yield name, f"is required: {what}"
    if entry.profile is not None and entry.api_key_env is not None:
        yield "profile", "means nothing beside an API key: leave out profile or api_key_env"


def _missing_library(kind: str) -> Iterator[str]:
    missing = [name.replace(".", "-") for name in _LIBRARIES.get(kind, ()) if not _installed(name)]
    if missing:
        way_out = f"`make clouds`, or pip install 'faregate[{kind}]'"
        yield f"{kind!r} needs {' and '.join(missing)}, not installed here: {way_out}"


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # The package that it would be in.
        return False


def _is_vendors(entry: UpstreamEntry) -> bool:
    """Whether it is the vendor's own address, where nobody is served without a key."""
    try:
        return entry.base_url is None or urlsplit(entry.base_url).hostname == _VENDORS[entry.kind]
    except ValueError:
        return False  # That is no URL, and is told as such.


def _url_problems(name: str, url: str, schemes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        yield name, f"{url!r} is not a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    elif parts.username is not None:
        yield name, "holds a user or password, and secrets are not kept in the file"
    elif parts.query or parts.fragment:
        yield name, f"{url!r} has a query or a fragment, which a base address has not"


def _duplicates(section: str, names: list[str], field: str) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield (section, index, field), f"{name!r} is taken by an earlier entry"


def cost_of(entry: Cost) -> costs.Cost:
    """The cost that an entry says. Raises ValueError, with a sentence that begins with the field."""
    return costs.cost(
        upstream=entry.upstream,
        model=entry.model,
        valid_from=entry.valid_from,
        share=entry.share,
        columns={name: getattr(entry, name) for name in COLUMNS},
    )


def _cost_problems(file: File, known: list[str]) -> Iterator[Problem]:
    for index, entry in enumerate(file.costs):
        if entry.upstream not in known:
            sentence = f"there is no upstream {entry.upstream!r}{did_you_mean(entry.upstream, known)}"
            yield ("costs", index, "upstream"), sentence
        try:
            cost_of(entry)
        except ValueError as error:
            name, _, sentence = str(error).partition(": ")
            yield ("costs", index, name), sentence
        same = (entry.upstream, entry.model, entry.valid_from)
        if same in [(one.upstream, one.model, one.valid_from) for one in file.costs[:index]]:
            yield ("costs", index, "valid_from"), "is that of an earlier entry: a new cost begins at a later time"


def _weight_problems(index: int, route: Route) -> Iterator[Problem]:
    key = ("routes", index, "weights")
    if route.weights and len(route.weights) != len(route.upstreams):
        yield key, f"there are {len(route.weights)} for {len(route.upstreams)} upstreams: give one for each"
    if route.weights and not any(route.weights):
        yield key, "are all 0, so that no upstream would ever be the first: give one a weight above 0"


def _route_problems(file: File, known: list[str]) -> Iterator[Problem]:
    for index, route in enumerate(file.routes):
        for place, name in enumerate(route.upstreams):
            key: Key = ("routes", index, "upstreams", place)
            if name not in known:
                yield key, f"there is no upstream {name!r}{did_you_mean(name, known)}"
            if name in route.upstreams[:place]:
                yield key, f"{name!r} is named twice"
        yield from _weight_problems(index, route)
    yield from _duplicates("routes", [route.model for route in file.routes], "model")
    taken: dict[str, str] = {route.model: route.model for route in file.routes}
    for index, route in enumerate(file.routes):
        for place, alias in enumerate(route.aliases):
            if alias in taken:
                yield ("routes", index, "aliases", place), f"{alias!r} already names {taken[alias]!r}"
            taken[alias] = route.model
