"""RESULTS.md: the section of a table, written anew by whoever measured it.

One rule: a section is what stands between its two marks; nothing else of the page is touched. It says with which
command, of which commit and when it was measured, and shows its chart.
"""

import contextlib
import os
import platform
import re
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.charts import svg
from bench.tables import Table

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent


def write(tables: list[Table], words: list[str], *, folder: Path = FOLDER) -> None:
    """Put each table into the page of `folder`, with its chart beside."""
    page = folder / "RESULTS.md"
    text = page.read_text() if page.exists() else "# Results\n"
    charts = folder / "charts"
    charts.mkdir(exist_ok=True)
    for table in tables:
        if table.bars:
            (charts / f"{table.slug}.svg").write_text(svg(table))
        text = placed(text, table.slug, section(table, words))
    page.write_text(text)


def section(table: Table, words: list[str]) -> str:
    """A table with its heading, its provenance and its chart."""
    chart = f"![{table.title}: {table.measure}](charts/{table.slug}.svg)\n\n" if table.bars else ""
    return f"## {table.title}\n\n{provenance(words)}\n\n{chart}{table.markdown()}"


def placed(text: str, slug: str, written: str) -> str:
    """The page with this section in it: in its old place, or at the end."""
    begin, end = f"<!-- {slug} -->", f"<!-- end of {slug} -->"
    block = f"{begin}\n\n{written}\n{end}"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if found.search(text):
        return found.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}\n"


def provenance(words: list[str]) -> str:
    """How it was measured, and on what."""
    command = f'make bench ARGS="{shlex.join(words)}"' if words else "make bench"
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    machine = f"{cores} cores ({platform.machine()}), load {load:.1f} at the end"
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, commit {commit()}, Python {platform.python_version()}, {machine}."
    )


def commit() -> str:
    """What was measured; with a + where the sources have been changed since."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        at = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "bench/*.py"], cwd=ROOT, check=False)
        return at.stdout.decode().strip() + ("+" if changed.returncode else "")
    return "unknown"
