"""Where a ledger is kept, shown without what opens it."""

import pytest

from faregate.core.place import Postgres


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:s3cret@db.example:5432/fares", "postgresql://db.example:5432/fares"),
        ("postgresql://ann:s3cr@et@db/fares?password=s3cret", "postgresql://db/fares"),
        ("postgresql:///fares?host=/run/pg&password=s3cret", "postgresql:///fares"),
        ("postgres://db/fares", "postgres://db/fares"),
    ],
)
def test_a_database_is_shown_without_user_password_or_options(url: str, shown: str) -> None:
    place = Postgres(url)

    assert (str(place), repr(place), f"{place}") == (shown, f"Postgres({shown})", shown)
    assert place.url == url
