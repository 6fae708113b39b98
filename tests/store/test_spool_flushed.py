"""A line of the spool is on the disk before its caller sees the end, or nothing of it is left.

Method: the file alone, on a disk that says when it is asked to flush, and that may refuse.
"""

import os
from pathlib import Path

import pytest

from faregate.store.spool import Spool
from tests.store.books import settle


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def flushed_file(handle: int) -> str:
    return Path(f"/proc/self/fd/{handle}").readlink().name


def test_each_line_and_its_name_in_the_folder_are_on_the_disk_before_it_is_told(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        flushed.append(flushed_file(handle))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    spool.append(settle(1))
    assert flushed == ["spool", spool.path.parent.name]
    spool.append(settle(2))
    assert flushed[2:] == ["spool"]


@pytest.mark.parametrize(("failing", "before"), [("spool", 0), ("spool", 1), ("folder", 0)])
def test_of_a_line_that_could_not_be_flushed_nothing_is_left(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, failing: str, before: int
) -> None:
    for number in range(before):
        spool.append(settle(number))
    fsync = os.fsync

    def fails(handle: int) -> None:
        if (flushed_file(handle) == "spool") == (failing == "spool"):
            raise OSError(5, "Input/output error")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            spool.append(settle(9))

    assert spool.read() == [settle(number) for number in range(before)]
    assert spool.path.exists() == bool(before)
    spool.append(settle(10))
    assert spool.read()[before:] == [settle(10)]


def test_a_spool_that_cannot_be_read_is_not_cut(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(settle(1))

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        with pytest.raises(OSError, match="Input/output"):
            spool.append(settle(2))

    assert spool.read() == [settle(1)]


def test_of_a_line_that_the_disk_took_in_part_nothing_is_left(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(settle(1))
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, line, end: pwrite(file, line[:20], end))
        with pytest.raises(OSError, match="a part of the line"):
            spool.append(settle(2))

    assert spool.read() == [settle(1)]
    assert spool.path.read_bytes().endswith(b"\n")
