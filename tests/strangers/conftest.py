"""One house for each file and database: starting a gateway takes longer than most of what is said to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.strangers.house import House, opened


@pytest.fixture(scope="module")
def house(module_folder: Path) -> Iterator[House]:
    with opened(module_folder) as house:
        yield house
