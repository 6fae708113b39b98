"""The stage: the fake upstream, the doors that a measurement asks for, and the cores that each may use."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench import doors, gateways, peers
from bench.door import Door, Missing, Upstream
from bench.processes import tree

Maker = Callable[[Upstream, Path], AbstractContextManager[Door]]
MAKERS: Final[dict[str, Maker]] = {
    "nginx": doors.nginx,
    "rolter": peers.rolter,
    "faregate-sqlite": gateways.sqlite,
    "faregate-postgres": gateways.postgres,
    "litellm": peers.litellm,
}
DIRECT: Final = "direct"


@contextlib.contextmanager
def folder_and_upstream(*, tls: bool = False) -> Iterator[tuple[Path, Upstream]]:
    """A folder for everything, and the fake upstream."""
    with tempfile.TemporaryDirectory(prefix="faregate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is nobody.
        with doors.upstream(folder, tls=tls) as to:
            yield folder, to


@contextlib.contextmanager
def opened(names: Sequence[str], missing: dict[str, str], *, tls: bool = False) -> Iterator[list[Door]]:
    """Upstream itself, and every door that can be had; why the others cannot is put into `missing`."""
    with contextlib.ExitStack() as stack:
        folder, to = stack.enter_context(folder_and_upstream(tls=tls))
        found = [doors.direct(to)]
        for name in names:
            own = folder / name
            own.mkdir()
            tell(f"starting {name}")
            try:
                found.append(stack.enter_context(MAKERS[name](to, own)))
            except Missing as reason:
                missing[name] = str(reason)
        yield found


def apart(gateway: int, others: Sequence[int]) -> str:
    """Put a gateway on one core and the others on the rest; says what was done."""
    cores = sorted(os.sched_getaffinity(0))
    _pin(gateway, {cores[0]})
    for pid in others:
        _pin(pid, set(cores[1:]) or set(cores))
    return f"the gateway has core {cores[0]} to itself" if cores[1:] else "there is one core for all"


def together(pid: int) -> None:
    """Let a tree use every core again."""
    _pin(pid, os.sched_getaffinity(0))


def _pin(pid: int, cores: set[int]) -> None:
    # Each thread has a mask of its own; one that begins later takes it from who began it.
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores)


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)
