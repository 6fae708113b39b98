"""Drives the Claude Code command line through the gateway, with telemetry and updates off.

The rule: it runs where there is no network but loopback, and in a home and a folder of its own, so that nothing of this
machine's user is read or written.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from riding import KEY, MODEL, POOR_KEY, SENTENCE, URL, ride

CLAUDE: Final = os.environ.get("FARE_CLAUDE", "")
HOME: Final = Path(os.environ.get("HOME", ""))
ASK_BASH: Final = 'What is six times seven? <<{"name": "Bash", "input": {"command": "expr 6 \\\\* 7"}}>>'
ASK_READ: Final = 'What is in the file? <<{"name": "Read", "input": {"file_path": "%s"}}>>'
QUIET: Final = (
    "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING", "DISABLE_AUTOUPDATER", "DISABLE_BUG_COMMAND",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
)  # fmt: skip


def claude(prompt: str, *more: str, key: str = KEY) -> Any:
    """One run without a terminal; what it printed, as JSON."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(HOME),
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_MODEL": MODEL,
        "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
        **dict.fromkeys(QUIET, "1"),
    }
    folder = HOME / "project"
    folder.mkdir(exist_ok=True)
    command = (CLAUDE, "-p", prompt, "--output-format", "json", *more)
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        return json.loads(ran.stdout)
    except ValueError:
        raise AssertionError(f"exit {ran.returncode}: {ran.stdout[-300:]} {ran.stderr[-300:]}") from None


def stream() -> None:
    """A first question; it always streams."""
    said = claude("Say hi")
    assert said["result"] == SENTENCE and not said["is_error"], said


def tools() -> None:
    """Two turns with a tool that it runs itself, twice: a command and a file."""
    said = claude(ASK_BASH, "--allowedTools", "Bash(expr:*)")
    assert "42" in said["result"] and said["num_turns"] == 2, said
    file = HOME / "project" / "fare.txt"
    file.write_text("eleven credits\n")
    said = claude(ASK_READ % file)
    assert "eleven credits" in said["result"] and said["num_turns"] == 2, said


def errors() -> None:
    """An empty wallet ends it at once, with the gateway's words."""
    began = time.monotonic()
    said = claude("Say hi", key=POOR_KEY)
    assert said["is_error"] and "credits" in said["result"], said
    assert time.monotonic() - began < 60, "it repeated what was refused"


def count_tokens() -> None:
    """What fills its context: some thirty counts at once, and no call."""
    said = claude("/context")
    assert "Context Usage" in said["result"] and not said["is_error"], said


if __name__ == "__main__":
    ran = subprocess.run((CLAUDE, "--version"), capture_output=True, text=True, timeout=60, check=True)
    ride(
        {"stream": stream, "tools": tools, "errors": errors, "count_tokens": count_tokens},
        f"claude-code {ran.stdout.split()[0]}",
    )
