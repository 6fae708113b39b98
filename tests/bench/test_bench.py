"""The bench measures what it says it does: every answer is checked, every door has its row, nothing is left behind.

Method: whole runs of a handful of calls, on the shipped gateway; no figure is judged, for it would be this machine's.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import appraisal, calls, options, peers, results
from bench.charts import svg
from bench.door import Door
from bench.doors import direct, upstream
from bench.jobs import Answered
from bench.loads import Load
from bench.processes import callers
from bench.seeds import grow
from bench.tables import Bar, Table
from faregate import home, settings
from faregate.store.store import Store

ROOT = Path(__file__).parents[2]
FEW = ("calls", "--requests", "4", "--concurrency", "2", "--rounds", "1")


def asked(*words: str) -> Namespace:
    return options.parser("").parse_args(words)


def bench(*words: str, environ: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "bench", *words], cwd=ROOT, text=True, env=environ,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_a_run_has_a_row_for_each_door_and_one_for_what_each_door_holds() -> None:
    tables, wrong = calls.run(asked(*FEW, "--streams", "2", "--doors", "nginx,faregate-sqlite", "--loads", "burst"))

    assert wrong == []
    assert [row[:2] for row in tables[0].rows] == [("burst", door) for door in ("direct", "nginx", "faregate-sqlite")]
    assert [row[0] for row in tables[1].rows] == ["nginx", "faregate-sqlite"]
    assert {len(row) for row in tables[0].rows} == {len(tables[0].columns)}
    assert tables[0].rows[2][-2:] == ("4", "0"), "calls and errors"


def test_a_peer_that_cannot_be_had_is_a_row_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)

    tables, wrong = calls.run(asked(*FEW, "--streams", "0", "--doors", "rolter", "--loads", "plain"))

    assert wrong == []
    assert tables[0].rows[1][:2] == ("plain", "rolter")
    assert tables[0].rows[1][2] == "missing: pip could not install rolter==0.1.0: it ended with 1"


def answered(door: Door, load: Load, *, events: int) -> Answered:
    job = load.job(door.url, door.headers, ca_file=door.ca_file, count=4, concurrency=2)
    with callers() as by:
        return by.ask(type(job)(**{name: getattr(job, name) for name in job.__struct_fields__} | {"events": events}))


@pytest.mark.parametrize("load", [Load("burst", events=5), Load("paced", events=5, gap_ms=1)], ids=["burst", "paced"])
def test_an_answer_with_other_events_than_were_asked_for_is_an_error(tmp_path: Path, load: Load) -> None:
    with upstream(tmp_path, tls=True) as to:
        assert answered(direct(to), load, events=5).errors == 0
        wrong = answered(direct(to), load, events=6)

    assert (wrong.calls, wrong.errors, wrong.first_error) == (4, 4, "5 events and not 6")


async def test_a_ledger_that_was_grown_has_clean_books(tmp_path: Path) -> None:
    (tmp_path / "faregate.toml").write_text('[[upstreams]]\nname = "fake"\nkind = "scripted"\n')
    grown = await grow(tmp_path, receipts=30, keys=25, prices=3)
    loaded = settings.load({"FAREGATE_HOME": str(tmp_path)}, folder=tmp_path, file=tmp_path / "faregate.toml")

    async with Store.open(loaded.database, pepper=home.pepper(loaded)) as store:
        assert [finding for finding in await store.office.audit() if finding.count] == []
        assert len(await store.office.keys(None)) == 25
        assert len([version for version in store.prices.versions() if "bench" in version.id]) == 3
        key = await store.keys.find(grown.some(25)[1])
        assert key is not None and len(set(grown.some(5))) == 5
        page = await store.records.usage(
            key.wallet_id, key_id=key.id, model=None, since_ms=None, until_ms=None, before=None, limit=100
        )
        assert [receipt.state for receipt in page.receipts] == ["settled", "settled"], "30 receipts of 25 keys in turn"


def test_the_requests_that_are_quoted_are_as_large_as_they_say() -> None:
    tables, _ = appraisal.run(asked("appraise", "--runs", "1"))
    sizes = {name: int(size.replace(",", "")) for name, size, *_ in tables[0].rows}

    assert sizes["agent"] == pytest.approx(appraisal.AGENT_BYTES, rel=0.05)
    assert sizes["long prompt"] == pytest.approx(appraisal.LONG_BYTES, rel=0.05)


@pytest.mark.parametrize("words", [("--requests", "0"), ("--doors", "apache"), ("streams", "--rate", "x"), ("parks",)])
def test_bad_arguments_end_in_a_sentence(words: tuple[str, ...]) -> None:
    with bench(*words) as run:
        _, said = run.communicate()

    assert run.returncode == 2
    assert re.search(r"error: .*(is not a count|is none of|invalid choice)", said) and "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_an_interrupted_run_leaves_nothing_behind() -> None:
    with tempfile.TemporaryDirectory() as folder:  # The path of a socket in it must be short.
        interrupted(folder)


def interrupted(folder: str) -> None:
    words = ("--doors", "faregate-sqlite", "--loads", "plain", "--streams", "0", "--requests", "50", "--rounds", "1000")
    run = bench(*words, environ={**os.environ, "TMPDIR": folder})
    assert run.stderr is not None
    with run:
        for line in run.stderr:
            if line.startswith("round 1"):
                run.send_signal(signal.SIGINT)
                break
        run.communicate()

    assert run.returncode == 130
    assert list(Path(folder).iterdir()) == []
    assert [process for process in Path("/proc").iterdir() if tells(process, folder)] == []


def tells(process: Path, text: str) -> bool:
    """Whether a process was started with this in its environment."""
    try:
        return process.name.isdigit() and text.encode() in (process / "environ").read_bytes()
    except OSError:
        return False


TABLE = Table(
    "How much", ("a", "b"), (("1", "2"),), (Bar("one", "faregate-sqlite", 3.0), Bar("one", "x & y", 900.0)), "ms"
)


def test_a_section_is_written_in_its_own_place_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.md").write_text("# Results\n\nBy hand.\n")
    results.write([TABLE], ["solo"], folder=tmp_path)
    first = (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "RESULTS.md").write_text(first + "\nAlso by hand.\n")
    results.write([TABLE._replace(rows=(("3", "4"),))], ["solo"], folder=tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()

    assert page.startswith("# Results\n\nBy hand.\n") and page.endswith("\nAlso by hand.\n")
    assert "| 3 | 4 |" in page and "| 1 | 2 |" not in page and page.count("## How much") == 1
    assert 'make bench ARGS="solo"' in page
    assert (tmp_path / re.findall(r"\]\((charts/.*?)\)", page)[0]).exists()


def test_a_chart_has_a_bar_for_each_figure() -> None:
    drawn = ElementTree.fromstring(svg(TABLE))
    bars = [one for one in drawn.iter("{http://www.w3.org/2000/svg}rect") if one.get("rx")]

    assert [float(bar.attrib["width"]) > 0 for bar in bars] == [True, True]
    assert "x & y" in [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
