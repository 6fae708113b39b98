"""The package's weights are run only as the bytes we chose; what is wrong is said with the way out."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest

from faregate.upstreams import local_weights
from faregate.upstreams.local_weights import FILE, LIBRARY, PACKAGE, SHA256, ModelFailure, check, find_model


def test_the_packages_weights_are_found_and_are_the_ones_we_know() -> None:
    file = find_model(None)

    assert file.name == FILE
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256


def test_finding_the_weights_imports_neither_package() -> None:
    assert importlib.util.find_spec(PACKAGE) is not None
    find_model(None)

    assert PACKAGE not in sys.modules and LIBRARY not in sys.modules


def test_weights_with_a_byte_changed_are_refused(tmp_path: Path) -> None:
    file = tmp_path / FILE
    file.write_bytes(b"GGUF and so on")
    good = hashlib.sha256(b"GGUF and so on").hexdigest()

    assert check(file, good) == file
    file.write_bytes(b"GGUF and so off")
    with pytest.raises(ModelFailure, match=f"{FILE} has sha256 [0-9a-f]{{64}}, not {good}.*make setup"):
        check(file, good)


def test_weights_that_are_gone_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFailure, match=r"cannot be read: .*No such file or directory.*make setup"):
        check(tmp_path / FILE, SHA256)


@pytest.mark.parametrize("constant", ["LIBRARY", "PACKAGE"])
def test_a_package_that_is_missing_is_named_with_the_way_out(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_weights, constant, "not_installed_here")

    with pytest.raises(ModelFailure, match=r"not_installed_here.* not installed: run `make setup`"):
        find_model(None)


def test_an_operators_own_file_is_taken_at_his_word(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(b"GGUF" + bytes(60))

    assert find_model(str(file)) == file


def test_an_operators_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a model")

    with pytest.raises(ModelFailure, match=r"model_file: .*notes\.txt: is not a GGUF file"):
        find_model(str(tmp_path / "notes.txt"))
    with pytest.raises(ModelFailure, match=r"model_file: .*missing\.gguf: No such file"):
        find_model(str(tmp_path / "missing.gguf"))
