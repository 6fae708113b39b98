"""The child program lives only as long as its parent, whatever becomes of that, and keeps to its bounds.

Method: run it as it is run, with real pipes and the real model, and take its parent away in each way there is.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faregate.upstreams import local_server
from faregate.upstreams.local_weights import find_model

PROGRAM = str(Path(local_server.__file__))
SETTINGS: dict[str, Any] = {
    "key": "secret", "slots": 1, "slot_tokens": 512, "threads": 1, "batch_threads": 1, "batch_tokens": 64,
    "cache_mib": 16, "http_threads": 4, "memory_mib_max": 4_096,
}  # fmt: skip

PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True, start_new_session=True)
child.stdin.write(sys.argv[2].replace("PARENT", str(os.getpid())) + "\\n")
child.stdin.flush()
child.stdout.readline()
# A copy of the pipe's end in another process: its end alone would not be noticed.
keeper = subprocess.Popen(["sleep", "600"], pass_fds=[child.stdin.fileno()])
print(child.pid, keeper.pid, flush=True)
time.sleep(600)
"""

Child = subprocess.Popen[str]


def told(parent: object) -> str:
    return json.dumps({**SETTINGS, "model": str(find_model(None)), "parent": parent})


@pytest.fixture
def child() -> Iterator[Child]:
    arguments = [sys.executable, "-I", PROGRAM]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        yield process
        process.kill()


def say(child: Child, line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def gone(pid: int, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_it_says_where_it_listens_and_nothing_else_on_standard_output(child: Child) -> None:
    say(child, told(os.getpid()))

    output, _ = child.communicate()

    (line,) = output.splitlines()
    assert json.loads(line)["address"].startswith("http://127.0.0.1:")
    assert child.returncode == 0


def test_the_end_of_its_pipe_is_its_end(child: Child) -> None:
    say(child, told(os.getpid()))
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline()
    assert child.poll() is None

    child.stdin.close()

    assert child.wait(timeout=20) == 0


def test_a_parent_that_died_before_it_could_ask_is_noticed(child: Child) -> None:
    say(child, told(os.getpid() + 1))

    assert child.wait(timeout=20) == 0
    assert child.stdout is not None and child.stdout.read() == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of the pipe is all there is")
def test_it_dies_with_a_parent_that_is_killed_even_while_somebody_holds_its_pipe() -> None:
    arguments = [sys.executable, "-c", PARENT, PROGRAM, told("PARENT").replace('"PARENT"', "PARENT")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, keeper = map(int, parent.stdout.readline().split())
        try:
            assert not gone(pid, 0.05)
            parent.send_signal(signal.SIGKILL)
            assert gone(pid)
        finally:
            os.kill(keeper, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep to a limit of addresses")
def test_its_memory_has_a_limit(child: Child) -> None:
    say(child, told(os.getpid()))
    assert child.stdout is not None and child.stdout.readline()

    soft, _ = resource.prlimit(child.pid, resource.RLIMIT_AS)

    assert soft == SETTINGS["memory_mib_max"] << 20


def test_it_imports_nothing_of_ours_so_that_it_starts_alone() -> None:
    assert "import faregate" not in Path(PROGRAM).read_text()
    assert "from faregate" not in Path(PROGRAM).read_text()
