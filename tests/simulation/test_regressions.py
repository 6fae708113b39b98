"""What the simulation has found stays found: the seed of each bug, and what it was.

Method: the world that broke is run again. Where the worlds have changed since, the bug's own test is beside its module.
"""

import pytest

from tests.simulation.run import Share, world

FOUND = [
    # A line end too many between two events was swallowed when the network cut the stream behind it (wire/sse.py).
    Share(1, 31, 500),
]


@pytest.mark.parametrize("share", FOUND, ids=lambda share: f"{share.seed}/{share.number}")
def test_what_was_found_once_is_not_found_again(share: Share) -> None:
    assert world(share).broken == []
