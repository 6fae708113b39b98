"""Processes: started, watched, stopped. CPU and memory are of a whole tree, from /proc (Linux).

One rule: what was started here is ended here, with all that it started, however the run ends.

CPU is from the scheduler's own clock in nanoseconds where nothing of the tree ended in between; what has ended is only
in the kernel's ticks of 10 ms, and is then taken from there.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.jobs import Answered, Job

STOP_S = 20.0
TICKS_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Unready(Exception):
    """A process that did not come to serve, and why."""


class Cpu(NamedTuple):
    """The time that a tree has used so far."""

    threads: dict[int, int]
    """Nanoseconds by thread."""
    ticks_s: float

    def since(self, before: "Cpu") -> float:
        """Seconds used between the two."""
        if before.threads and before.threads.keys() <= self.threads.keys():
            return (sum(self.threads.values()) - sum(before.threads.values())) / 1e9
        return self.ticks_s - before.ticks_s


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, asked = [], [pid]
    while asked:
        one = asked.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                asked += map(int, (task / "children").read_text().split())
    return found


def cpu(pid: int) -> Cpu:
    """What a tree has used so far."""
    threads, ticks = dict[int, int](), 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            for task in Path(f"/proc/{one}/task").iterdir():
                threads[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return Cpu(threads, ticks / TICKS_S)


def memory_kb(pid: int) -> int:
    """What a tree holds; a page that several share is counted once."""
    held = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            held += int(found[1]) if found else 0
    return held


@contextlib.contextmanager
def process(command: list[str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process in a group of its own, and end the group. Ctrl-C comes to us alone, and we end what we began."""
    child = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield child
    finally:
        _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def announced(child: "subprocess.Popen[bytes]", before: str = "") -> str:
    """The base URL that a process prints. Raises Unready when it ends without one."""
    assert child.stdout is not None
    for line in child.stdout:
        if found := re.search(before + r"\s*(https?://\S+)", line.decode(errors="replace")):
            return found[1]
    raise Unready(f"it ended with {child.wait()} before it served")


class Callers:
    """The process of the callers (`bench.callers`)."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdin is not None and child.stdout is not None
        self.pid = child.pid
        self._in, self._out = child.stdin, child.stdout

    def ask(self, job: Job, *, watch: Callable[[], object] | None = None, every_s: float = 0.25) -> Answered:
        """Have a job done; `watch` is called now and then until it is."""
        self._in.write(msgspec.json.encode(job) + b"\n")
        self._in.flush()
        while watch is not None and not select.select([self._out], [], [], every_s)[0]:
            watch()
        line = self._out.readline()
        if not line:
            raise Unready("the callers ended in the midst of a job")
        return msgspec.json.decode(line, type=Answered)


@contextlib.contextmanager
def callers() -> Iterator[Callers]:
    """Start the callers."""
    command = [sys.executable, "-m", "bench.callers"]
    with process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield Callers(child)


def wait_until(ready: Callable[[], bool], child: "subprocess.Popen[bytes]", *, seconds_max: float) -> None:
    """Wait for a process. Raises Unready when it ends or the time does."""
    deadline = time.monotonic() + seconds_max
    while not ready():
        if child.poll() is not None:
            raise Unready(f"it ended with {child.returncode} before it served")
        if time.monotonic() > deadline:
            raise Unready(f"it did not serve within {seconds_max:.0f} s")
        time.sleep(0.1)
