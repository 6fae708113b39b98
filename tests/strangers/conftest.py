"""One house for each file: starting a gateway takes longer than most of what is said to it."""

from collections.abc import Iterator

import pytest

from tests.strangers.house import House, opened


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with opened(tmp_path_factory.mktemp("house")) as house:
        yield house
