"""What every test shares: a Hypothesis profile without timings, for a machine may be slow; and the two databases.

folder          stands for one new ledger, on each of the two in turn: opened twice, it is the same one
module_folder   the same, for all tests of a module
database        such a folder on PostgreSQL; `tmp_path` is one on SQLite
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres
from tests.postgres import URL

settings.register_profile("faregate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("faregate")


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with standing_for(request.param, tmp_path) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def module_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with standing_for(request.param, tmp_path_factory.mktemp("ledger")) as found:
        yield found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    with standing_for("postgres", tmp_path) as found:
        yield found


@contextmanager
def standing_for(kind: str, folder: Path) -> Iterator[Path]:
    """A folder that stands for a new ledger of that kind."""
    if kind == "sqlite":
        yield folder
        return
    url = postgres.migrated_database()
    (folder / URL).write_text(url)
    yield folder
    postgres.drop(url)
