"""The data folder is its owner's alone, and the secret in it is made once and never replaced.

Method: real folders.
"""

import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from faregate.home import PEPPER_BYTES, _write_once, pepper, prepare, spool
from faregate.settings import Settings, SettingsError, load


def settings_in(home: Path) -> Settings:
    return load({"FAREGATE_HOME": str(home)}, folder=home.parent)


def test_the_folder_and_the_pepper_are_the_owners_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "deep" / "home")
    prepare(settings)
    value = pepper(settings)

    assert value is not None and len(value) == PEPPER_BYTES
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.home / "pepper").stat().st_mode) == 0o600
    assert [file.name for file in settings.home.iterdir()] == ["pepper"]


def test_the_pepper_stays_the_same(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    prepare(settings)

    assert pepper(settings) == pepper(settings)


def test_processes_that_start_together_end_up_with_one_pepper(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    prepare(settings)
    program = (
        "import sys, pathlib; from faregate.home import pepper; from faregate.settings import load;"
        "home = pathlib.Path(sys.argv[1]); sys.stdin.readline();"
        "print(pepper(load({'FAREGATE_HOME': str(home)}, folder=home)).hex())"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(settings.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers: list[str] = []
    threads = [threading.Thread(target=lambda r=r: answers.append(r.communicate("go\n")[0])) for r in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    value = pepper(settings)
    assert value is not None and set(answers) == {value.hex() + "\n"}


def test_a_lost_pepper_is_not_replaced_under_keys_that_need_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    prepare(settings)
    assert isinstance(settings.database, Path)
    settings.database.write_bytes(b"")

    with pytest.raises(SettingsError, match=r"pepper: is missing, and the keys in .* restore it"):
        pepper(settings)
    assert not (settings.home / "pepper").exists()


def test_a_damaged_pepper_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    prepare(settings)
    (settings.home / "pepper").write_bytes(b"short")

    with pytest.raises(SettingsError, match=r"holds 5 bytes in place of 32: restore it"):
        pepper(settings)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingsError, match=r"file/home: cannot be made: Not a directory; .* set FAREGATE_HOME"):
        prepare(settings_in(tmp_path / "file" / "home"))


def test_the_databases_folder_is_named_by_its_own_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = {"FAREGATE_HOME": str(tmp_path / "home"), "FAREGATE_DATABASE_URL": f"sqlite:///{tmp_path}/file/x.db"}

    with pytest.raises(SettingsError, match=r"file: cannot be made: .* set FAREGATE_DATABASE_URL"):
        prepare(load(environ, folder=tmp_path))


def test_a_folder_that_cannot_be_written_is_one_clear_line() -> None:
    program = (
        "import os, sys, pathlib; from faregate.home import prepare; from faregate.settings import load;"
        "home = pathlib.Path(sys.argv[1]); settings = load({'FAREGATE_HOME': str(home)}, folder=home);"
        "home.chmod(0o500);"
        # Nothing is forbidden to root, so there this is tried as nobody.
        "os.geteuid() or os.chown(home, 65534, -1) or os.setuid(65534);"
        "prepare(settings)"
    )
    with tempfile.TemporaryDirectory() as home:
        ended = subprocess.run([sys.executable, "-c", program, home], capture_output=True, text=True, check=False)

    assert f"SettingsError: {home}: cannot be written: Permission denied" in ended.stderr


def test_a_pepper_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    _write_once(file)
    first = file.read_bytes()
    _write_once(file)

    assert file.read_bytes() == first
    assert [left.name for left in tmp_path.iterdir()] == ["pepper"]


def test_a_pepper_of_the_operators_own_is_taken_as_it_is_and_a_shared_database_keeps_one(tmp_path: Path) -> None:
    home = {"FAREGATE_HOME": str(tmp_path)}
    own = load(home | {"FAREGATE_PEPPER": "ab" * 32}, folder=tmp_path)
    shared = load(home | {"FAREGATE_DATABASE_URL": "postgresql://h/n"}, folder=tmp_path)

    assert pepper(own) == b"\xab" * 32
    assert pepper(shared) is None
    prepare(shared)
    assert list(tmp_path.iterdir()) == []
    for wrong in ("ab", "x" * 64, "ab" * 33):
        with pytest.raises(SettingsError, match="FAREGATE_PEPPER: 64 hexadecimal digits") as refused:
            load(home | {"FAREGATE_PEPPER": wrong}, folder=tmp_path)
        assert wrong not in str(refused.value)


def test_replicas_that_share_a_folder_have_a_spool_each(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)

    assert spool(settings, None) == tmp_path / "spool"
    assert spool(settings, "host:8080").name == "spool-host%3A8080"
    assert spool(settings, "../host_8080").name == "spool-..%2Fhost_8080"
