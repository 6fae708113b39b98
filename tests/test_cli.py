"""`faregate` and `python -m faregate` are the same command, and it is there at once.

Method: real processes.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from faregate import __version__

HEAVY = ("starlette", "httpx2", "sqlite3", "asyncio", "uvicorn", "rich.table", "faregate.app", "faregate.store")
"""What `--help` must not wait for."""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {"FAREGATE_HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, timeout=60, check=False)


@pytest.mark.parametrize(
    "command", [(str(Path(sys.executable).with_name("faregate")),), (sys.executable, "-m", "faregate")]
)
def test_the_command_answers_by_both_names(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(tmp_path, *command, "--version").stdout == f"faregate {__version__}\n"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, contextlib, io, json\n"
        "from faregate.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['key', '--help'])\n"
        f"json.dump([name for name in {HEAVY!r} if name in sys.modules], sys.stdout)"
    )

    assert json.loads(run(tmp_path, sys.executable, "-c", program).stdout) == []


def test_a_refusal_is_one_line_on_standard_error(tmp_path: Path) -> None:
    ended = run(tmp_path, sys.executable, "-m", "faregate", "wallet", "list", "--json")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("faregate: There is no database at ") and ended.stderr.count("\n") == 1


def test_an_unwritable_folder_is_exit_code_2_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, not a folder")
    ended = run(tmp_path, sys.executable, "-m", "faregate", "wallet", "create", "demo")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1 and "home" in ended.stderr
    assert (tmp_path / "home").read_text() == "a file, not a folder"


@pytest.mark.parametrize("command", [["catalog", "show"], ["catalog", "show", "--json"]])
def test_a_reader_who_goes_away_is_no_crash(tmp_path: Path, command: list[str]) -> None:
    program = (
        "import os, sys\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        f"from faregate.cli import main; main({command!r})"
    )
    ended = run(tmp_path, sys.executable, "-c", program)

    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
