"""The gateway, with a place in it where it kills itself: `python -m tests.faults.launch POINT PASSAGE serve ...`.

One rule: the shipped code runs, all of it. A named function is wrapped, and at its k-th passage the process gets
SIGKILL before or after what the function does; nothing else is changed, and no hook stands in the gateway for it.
"""

import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple


class Point(NamedTuple):
    """A function by its module and name, and on which side of it to die."""

    module: str
    name: str
    after: bool
    database: str = ""
    """The one that has it; empty for both."""


POINTS = {
    "migration": [
        Point("faregate.store.schema", "_statements.each", after=False, database="sqlite"),
        Point("faregate.store.schema_postgres", "one_at_a_time", after=True, database="postgres"),
    ],
    "boot sweep": [Point("faregate.store.sweep", "release", after=True)],
    "before COMMIT": [
        Point("faregate.store.sqlite_writer", "SqliteWriter._committed", after=False, database="sqlite"),
        Point("faregate.store.postgres_writer", "PostgresWriter.finish", after=False, database="postgres"),
    ],
    "after COMMIT": [
        Point("faregate.store.sqlite_writer", "SqliteWriter.finish", after=True, database="sqlite"),
        Point("faregate.store.postgres_writer", "PostgresWriter.finish", after=True, database="postgres"),
    ],
    "held, not sent": [Point("faregate.proxy.story", "take", after=True)],
    "mid-stream": [Point("faregate.core.stream", "Stream.feed", after=True)],
    "before settle": [Point("faregate.proxy.hold", "Hold.settle", after=False)],
    "settled, end not sent": [Point("faregate.proxy.hold", "Hold.settle", after=True)],
}


def main() -> None:
    """Take the point and the passage off the command line, and be the gateway from there on."""
    name, passage, sys.argv[1:] = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    database = "postgres" if "postgres" in os.environ.get("FAREGATE_DATABASE_URL", "") else "sqlite"
    arm(name, passage, database, die)
    from faregate.cli import main as faregate

    faregate()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(name: str, passage: int, database: str, act: Callable[[], None]) -> None:
    """Act at the `passage`-th passage of the named point. Raises KeyError or AttributeError where there is none."""
    for point in POINTS[name]:
        if point.database in ("", database):
            _wrap(point, _nth(passage, act))


def _nth(passage: int, act: Callable[[], None]) -> Callable[[], None]:
    left = passage

    def passed() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            act()

    return passed


def _wrap(point: Point, passed: Callable[[], None]) -> None:
    *path, last = point.name.split(".")
    owner = functools.reduce(getattr, path[:1] if last == "each" else path, importlib.import_module(point.module))
    if last == "each":
        owner, last = importlib.import_module(point.module), path[0]
        setattr(owner, last, _each(getattr(owner, last), passed))
        return
    setattr(owner, last, _around(getattr(owner, last), passed, after=point.after))


def _each(function: Callable[..., Any], passed: Callable[[], None]) -> Callable[..., Any]:
    """Of a function that yields: before each thing that it yields."""

    @functools.wraps(function)
    def wrapped(*args: Any, **more: Any) -> Any:
        for each in function(*args, **more):
            passed()
            yield each

    return wrapped


def _around(function: Callable[..., Any], passed: Callable[[], None], *, after: bool) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waited(*args: Any, **more: Any) -> Any:
            if not after:
                passed()
            result = await function(*args, **more)
            if after:
                passed()
            return result

        return waited

    @functools.wraps(function)
    def called(*args: Any, **more: Any) -> Any:
        if not after:
            passed()
        result = function(*args, **more)
        if after:
            passed()
        return result

    return called


if __name__ == "__main__":
    main()
