"""The command line is whole: every command has its help, and every one that prints data speaks JSON.

Method: walk the commands.
"""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from faregate import __version__
from faregate.cli.commands import called_again, commands
from tests.cli.conftest import Run


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    if not children:
        return [(path, command)]
    return [leaf for name, child in children.items() for leaf in leaves(child, (*path, name))]


def test_every_command_that_prints_data_takes_json() -> None:
    found = leaves(typer.main.get_command(commands()))

    assert len(found) > 16
    silent = [path for path, command in found if not any("--json" in option.opts for option in command.params)]
    assert silent == [("serve",)]


def test_every_option_says_what_it_is() -> None:
    for path, command in leaves(typer.main.get_command(commands())):
        assert command.help, path
        assert [option.name for option in command.params if not option.help] == [], path


def test_the_version_is_told(faregate: Run) -> None:
    assert faregate("--version").out == f"faregate {__version__}\n"


def test_an_unknown_command_is_exit_code_2(faregate: Run) -> None:
    assert faregate("walet", "list").code == 2


def test_serve_refuses_a_bad_flag_and_a_bad_file_before_it_starts_anything(
    faregate: Run, folder: Path, tmp_path: Path
) -> None:
    bad = faregate("serve", "--port", "70000")
    assert (bad.code, bad.err) == (2, "faregate: --port: expected int <= 65535, got 70000\n")
    (tmp_path / "own.toml").write_text("[server]\nprot = 1\n")
    wrong = faregate("serve", "--config", "own.toml")
    assert wrong.code == 2
    assert wrong.err.endswith("own.toml, line 2: server.prot: there is no such setting; did you mean port?\n")
    assert faregate("--config", "own.toml", "serve").err == wrong.err
    assert not folder.exists()


def test_what_the_banner_says_to_type_works_in_another_folder_for_the_same_data(tmp_path: Path) -> None:
    """Each way the program was started: by a path, by its name, and as a module."""
    script = Path(sys.executable).with_name("faregate")
    folder = tmp_path / "a home"
    home = {"FAREGATE_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    on_path = {**home, "PATH": f"{script.parent}:{home['PATH']}"}
    ways = [(str(script), home), (str(script), on_path), (str(script.parent / "x" / "__main__.py"), home)]
    for number, (program, environ) in enumerate(ways):
        typed = f"{called_again(program, environ)} wallet create w{number}"
        shell = {"PATH": environ["PATH"]}
        subprocess.run(["sh", "-c", typed], cwd="/", env=shell, check=True, capture_output=True, timeout=60)

    assert (folder / "faregate.db").exists()
    assert called_again(str(script), {"PATH": on_path["PATH"]}) == "faregate"
    assert called_again(str(script), {"PATH": "/usr/bin:/bin"}) == shlex.quote(str(script))
