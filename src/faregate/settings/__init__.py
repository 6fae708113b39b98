"""Settings: read once, at start, checked whole, frozen, and handed down.

    faregate.toml  <  FAREGATE_* environment  <  flags          (load)

`shape` declares every setting, with its default, its bounds and its sentence; the reference page is made from it.
`layers` reads the three sources and knows where each value came from; `check` holds the rules that tie settings to one
another. Whatever is wrong ends in one SettingsError: a line that names the place, the key, and the way out.
"""

from faregate.settings.layers import SettingsError
from faregate.settings.load import CatalogPaths, Settings, Upstream, load
from faregate.settings.routing import Breaker, Retry, Route
from faregate.settings.shape import (
    Admin,
    Batches,
    Database,
    Idempotency,
    Limits,
    Log,
    Secret,
    Server,
)
from faregate.settings.upstream import Auth, Kind, Timeouts

__all__ = [
    "Admin",
    "Auth",
    "Batches",
    "Breaker",
    "CatalogPaths",
    "Database",
    "Idempotency",
    "Kind",
    "Limits",
    "Log",
    "Retry",
    "Route",
    "Secret",
    "Server",
    "Settings",
    "SettingsError",
    "Timeouts",
    "Upstream",
    "load",
]
