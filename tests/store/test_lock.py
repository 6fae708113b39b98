"""The lock on a database file: one owner, named to whoever comes second, free again when it is gone."""

import os
from pathlib import Path

import pytest

from faregate.store.database import StoreRefused
from faregate.store.lock import Lock


def test_a_second_owner_is_told_the_firsts_number(tmp_path: Path) -> None:
    first = Lock(tmp_path / "x.db")
    with pytest.raises(StoreRefused, match=f"process {os.getpid()}\\b"):
        Lock(tmp_path / "x.db")
    first.release()
    Lock(tmp_path / "x.db").release()


def test_two_databases_have_two_locks(tmp_path: Path) -> None:
    one, two = Lock(tmp_path / "x.db"), Lock(tmp_path / "y.db")
    one.release()
    two.release()


def test_a_shorter_number_replaces_a_longer_one_whole(tmp_path: Path) -> None:
    (tmp_path / "x.db.lock").write_text("99999999999999\n")
    lock = Lock(tmp_path / "x.db")

    assert (tmp_path / "x.db.lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match=r"Cannot write in .*FAREGATE_HOME"):
        Lock(tmp_path / "none" / "x.db")
