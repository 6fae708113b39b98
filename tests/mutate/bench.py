"""A bench: one copy of the repository, on which one mutant after another is tried. The working tree is never touched.

A mutant is killed when a test fails, or takes longer than it may. It is stillborn when it is no program at all, which
is a fault of the tables or of the splitter, and not a proof of anything.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.mutate.mutant import ROOT, Mutant

TEST_S: Final = 60
"""How long one test may take."""

STAGE_S: Final = 900
"""How long all that is run for one mutant at once may take."""

REST: Final = ("tests/store", "tests/core", "tests/wire", "tests/proxy", "tests/edge", "tests/contract")
"""What is tried on a mutant that its own tests let live."""

NOT_COPIED: Final = (".git", ".venv", "node_modules", "__pycache__", "build", "dist", ".*_cache", ".hypothesis")
OTHER: Final = {"sqlite": "postgres", "postgres": "sqlite"}

Facts = dict[str, Any]


class Verdict(msgspec.Struct, frozen=True):
    """What became of a mutant: killed by a test, or stillborn, or alive where both are empty."""

    mutant: Mutant
    seconds: float
    killer: str = ""
    how: str = ""
    stillborn: str = ""


class Server:
    """A process of serve.py in a copy."""

    def __init__(self, root: Path, kind: str, arguments: list[str], environment: dict[str, str]) -> None:
        ours, its = socket.socketpair()
        report = root / f"mutate-{kind}.json"
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.mutate.serve", kind, str(report), *arguments],
                cwd=root,
                env={**environment, "MUTATE_FD": str(its.fileno())},
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._ours = ours
        self._lines = ours.makefile("rw")

    def ask(self, request: Facts) -> Facts:
        """Have one run. Raises InterruptedError when the server has gone."""
        with contextlib.suppress(OSError):
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
            if line := self._lines.readline():
                facts: Facts = json.loads(line)
                return facts
        raise InterruptedError("the server of test runs has gone")

    def stop(self) -> None:
        """End it, and what it runs."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):  # What was not sent any more.
            self._lines.close()
        self._ours.close()


class Bench:
    """A copy in `folder`. `server` is the URL of a PostgreSQL server for the tests."""

    def __init__(self, folder: Path, *, server: str | None, seed: int, quick: bool) -> None:
        self._root = folder
        self._server = server
        self._seed = seed
        self._quick = quick
        self._servers: dict[tuple[str, ...], Server] = {}
        self._stopped = False
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))

    def try_out(self, mutant: Mutant) -> Verdict:
        """Try one mutant: its own tests, then, unless `quick`, the rest."""
        began = time.monotonic()
        whole = self._put(mutant.file, mutant.of((self._root / mutant.file).read_text(encoding="utf-8")))
        try:
            tests = self._there(mutant.tests)
            seen = self._warm(tests, mutant) if mutant.schema else self._cold(tests, mutant)
            if not self._quick and not _told(seen):
                seen = self._cold([*REST], mutant)
                if "killer" in seen:
                    self._put(mutant.file, whole)
                    if "killer" in self._cold([seen["killer"]], None):
                        seen = {"stillborn": f"{seen['killer']} fails without any mutant too"}
        finally:
            self._put(mutant.file, whole)
        if not seen.get("ran", "").startswith(str(self._root)) and not seen.get("stillborn"):
            seen = {"stillborn": f"it is not the copy that ran, but {seen.get('ran')}"}
        facts = {name: str(seen.get(name, "")) for name in ("killer", "how", "stillborn")}
        return Verdict(mutant=mutant, seconds=time.monotonic() - began, **facts)

    def clean(self, tests: list[str]) -> str:
        """The first of these tests that fails without any mutant, or nothing."""
        seen = self._cold(self._there(tests), None)
        return str(seen.get("killer") or seen.get("stillborn") or "")

    def stop(self) -> None:
        """End what is running, and begin nothing more."""
        self._stopped = True
        for server in self._servers.values():
            server.stop()

    def _put(self, file: str, text: str) -> str:
        """Write a file of the copy, and forget what Python has compiled of it; the text that was there."""
        path = self._root / file
        before = path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        return before

    def _there(self, tests: list[str] | tuple[str, ...]) -> list[str]:
        return [test for test in tests if (self._root / test).exists()]

    def _warm(self, tests: list[str], mutant: Mutant) -> Facts:
        assert mutant.dialect is not None
        request = {
            "migrates": mutant.dialect,
            "other": OTHER[mutant.dialect],
            "words": re.findall(r"[a-z_0-9]+", mutant.name.lower()),
        }
        return self._asked("warm", tests, request)

    def _cold(self, tests: list[str], mutant: Mutant | None) -> Facts:
        other = OTHER.get((mutant.dialect if mutant is not None else None) or "")
        other = "postgres" if self._server is None else other
        chosen = ["-k", f"not {other}"] if other else []
        return self._asked("cold", [], {"arguments": [*chosen, *tests]})

    def _asked(self, kind: str, tests: list[str], request: Facts) -> Facts:
        if self._stopped:
            raise InterruptedError
        name = (kind, *tests)
        if name not in self._servers:
            self._servers[name] = Server(self._root, kind, [*self._arguments(), *tests], self._environment())
        return self._servers[name].ask(request | {"seconds": STAGE_S})

    def _arguments(self) -> list[str]:
        quietly = ["-x", "-q", "-s", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        return [*quietly, f"--timeout={TEST_S}", f"--hypothesis-seed={self._seed}"]

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._root / "src"), str(self._root)])
        given = {"FAREGATE_TEST_DATABASE_URL": self._server} if self._server is not None else {}
        return {**os.environ, "PYTHONPATH": path, **given}


def _told(seen: Facts) -> bool:
    return "killer" in seen or "stillborn" in seen
