"""Options that several commands share read what people type.

Method: spans and names by hand.
"""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from faregate.cli.options import expiry, named


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_span_is_counted_from_now(text: str, span: timedelta) -> None:
    before = datetime.now(UTC)
    read = expiry(text)

    assert read is not None
    assert before <= datetime.fromisoformat(read) - span <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-1d", "1.5d", "1y", "9999999d", "٣d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a time span"):
        expiry(text)


def test_no_span_is_no_expiry() -> None:
    assert expiry(None) is None


def test_a_name_stays_one_piece_of_a_path() -> None:
    assert named("/wallets/{name}/topups", "a/../b?c#d é") == "/wallets/a%2F..%2Fb%3Fc%23d%20%C3%A9/topups"
