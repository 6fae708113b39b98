"""The catalog on disk: read whole, or refused with the file's name."""

from pathlib import Path

import pytest

from faregate.core.catalog import CatalogError
from faregate.shipped import load_catalog, shipped_text


def test_the_shipped_catalog_loads() -> None:
    assert "claude-haiku-4-5" in shipped_text()
    assert load_catalog().find("claude-haiku-4-5") is not None


def test_an_operators_files_are_read_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text('[models.claude-haiku-4-5]\naliases = ["fast"]\n')
    second.write_text('[models.claude-haiku-4-5]\naliases = ["cheap"]\n')

    catalog = load_catalog([first, second])

    assert catalog.find("fast") is catalog.find("cheap") is not None


def test_files_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(CatalogError) as refused:
        load_catalog([tmp_path / "missing.toml", tmp_path, tmp_path / "bytes.toml"])

    assert [Path(problem.source).name for problem in refused.value.problems] == [
        "missing.toml",
        tmp_path.name,
        "bytes.toml",
    ]
    assert "missing.toml: cannot be read: " in str(refused.value)
