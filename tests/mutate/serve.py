"""A server of test runs, inside a copy of the repository: what a run costs is paid once, and each run is a fork.

    cold    what the gateway is built on is imported, the gateway is not: each fork imports it as it then is
    warm    the tests are collected as well: for mutants of the schema, which is read anew by each test

It takes one request a line from MUTATE_FD, and answers in one: what ran, the first failure, or why there was no run.
"""

import atexit
import contextlib
import importlib
import json
import os
import re
import select
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

HEAVY: Final = (
    *("httptools", "httpx2", "hypothesis", "msgspec", "psycopg"),
    *("prometheus_client", "rich.console", "starlette.applications", "structlog", "typer", "uvicorn", "uvloop"),
)

REFUSED: Final = (
    sqlite3.IntegrityError,
    psycopg.IntegrityError,
    psycopg.errors.InvalidForeignKey,
    psycopg.errors.InvalidColumnReference,
)
"""How a database says that it does not do without: a row of the migration's own, or another guard, rests on it."""

Request = dict[str, Any]


class Seen:
    """A plugin of pytest: what ran, and the first failure."""

    def __init__(self, report: Path) -> None:
        self.report = report
        self.facts: dict[str, Any] = {}

    def keep(self, **facts: Any) -> None:
        self.facts |= facts
        self.report.write_text(json.dumps(self.facts), encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.keep(stillborn=f"{report.nodeid} cannot be collected: {report.longreprtext[-600:]}")

    def pytest_collection_finish(self) -> None:
        self.keep(ran=_ran())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.keep(running=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and "killer" not in self.facts:
            lines = report.longreprtext.strip().splitlines() or [""]
            self.keep(killer=report.nodeid, how=lines[-1][:300])


class Warm:
    """A plugin of pytest: instead of running what was collected it serves, and each fork runs it."""

    def __init__(self, lines: Any, report: Path) -> None:
        self._lines = lines
        self._seen = Seen(report)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config.pluginmanager.register(self._seen)
        _serve(self._lines, self._seen, lambda request: self._run(session, request))
        return True

    def _run(self, session: pytest.Session, request: Request) -> None:
        self._seen.keep(ran=_ran())
        try:
            _migrate(request["migrates"])
        except REFUSED as error:
            self._seen.keep(killer="the migration itself", how=str(error))
            return
        except Exception as error:
            self._seen.keep(stillborn=f"{type(error).__name__}: {error}")
            return
        other = request["other"]
        items = [item for item in session.items if not (other and other in item.nodeid.lower())]
        items = sorted(items, key=lambda item: -_likely(item.nodeid, request["words"]))
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if "killer" in self._seen.facts:
                with contextlib.suppress(Exception):
                    session._setupstate.teardown_exact(None)
                return


def _likely(nodeid: str, words: list[str]) -> int:
    """How much of a mutant's name a test has in its own."""
    said = set(re.findall(r"[a-z0-9]+", nodeid.lower()))
    return sum(set(word.split("_")) <= said for word in words)


def _ran() -> str:
    import faregate

    return str(faregate.__file__)


def _migrate(dialect: str) -> None:
    """Bring an empty database up to date: a schema that is none is no mutant."""
    if dialect == "sqlite":
        from faregate.store import schema

        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            schema.migrate(connection, Path("memory"))
    elif dialect == "postgres":
        from tests import postgres

        postgres.drop(postgres.migrated_database())


def _serve(lines: Any, seen: Seen, run: Callable[[Request], None]) -> None:
    """Fork for each request, wait for it so long and no longer, and answer."""
    for line in lines:
        request = json.loads(line)
        seen.report.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _be(run, request, seen)
        signal.signal(signal.SIGTERM, lambda *_, child=child: _stop(child))
        ended = _wait(child, request["seconds"])
        facts = json.loads(seen.report.read_text()) if seen.report.exists() else {}
        if ended != 0 and not {"killer", "stillborn"} & facts.keys():
            facts |= {"killer": facts.get("running", "?"), "how": f"the run did not end, or ended itself: {ended}"}
        lines.write(json.dumps(facts) + "\n")
        lines.flush()


def _be(run: Callable[[Request], None], request: Request, seen: Seen) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    status = 1
    try:
        run(request)
        status = 0
    except BaseException as error:
        if "killer" not in seen.facts:  # A test that fails may leave things behind which are complained of at the end.
            seen.keep(stillborn=f"{type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        os._exit(status)


def _wait(child: int, seconds: float) -> int:
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            os.killpg(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]
    finally:
        os.close(handle)


def _stop(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    """Serve until the line is closed. The arguments are pytest's."""
    kind, report, *arguments = sys.argv[1:]
    with socket.socket(fileno=int(os.environ["MUTATE_FD"])) as line, line.makefile("rw") as lines:
        if kind == "warm":
            pytest.main(arguments, plugins=[Warm(lines, Path(report))])
            return
        for name in HEAVY:
            importlib.import_module(name)
        seen = Seen(Path(report))
        _serve(lines, seen, lambda request: _run_cold(seen, [*arguments, *request["arguments"]]))


def _run_cold(seen: Seen, arguments: list[str]) -> None:
    status = pytest.main(arguments, plugins=[seen])
    if status not in (0, 1, 2, 5):
        seen.keep(stillborn=f"pytest ended with {status}")


if __name__ == "__main__":
    main()
