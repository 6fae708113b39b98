"""The store's fixtures: an owner's store on a fresh file, and a raw connection to one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faregate.store.store import Store
from tests.store.books import Raw, opening


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opening(tmp_path) as opened:
        yield opened


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Raw]:
    connection = Raw(tmp_path / "raw.db")
    yield connection
    connection.close()
