"""Every refusal ends in an exit code and one line; a bug of ours does not hide in one.

Method: each kind of exception, by hand.
"""

import pytest

from faregate.cli.refusals import Failed, explain
from faregate.core.catalog import CatalogError, Problem
from faregate.core.errors import NotFound
from faregate.edge.listen import Busy
from faregate.settings import SettingsError
from faregate.store.database import StoreRefused
from faregate.upstreams.local_weights import ModelFailure

ONE = Problem("own.toml", "m", "limits", "is below 1")
TWO = Problem("own.toml", "m", "prices", "are missing")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Failed("no"), 1, "no"),
        (NotFound("There is no wallet x."), 1, "There is no wallet x."),
        (SettingsError("f.toml, line 1: x"), 2, "f.toml, line 1: x"),
        (StoreRefused("The database\nis newer."), 2, "The database is newer."),
        (Busy("server.port: busy"), 2, "server.port: busy"),
        (ModelFailure("the offline model ended\nwith 1"), 2, "the offline model ended with 1"),
        (CatalogError([ONE]), 2, str(ONE)),
        (CatalogError([ONE, TWO]), 2, f"{ONE} (and 1 more: `faregate catalog check` lists them)"),
    ],
)
def test_a_refusal_is_a_code_and_a_line(error: Exception, code: int, line: str) -> None:
    assert explain(error) == (code, line)


def test_a_bug_of_ours_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        explain(ZeroDivisionError())
