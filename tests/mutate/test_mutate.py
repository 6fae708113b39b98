"""The mutants fit the code, the splitter finds what it is there for, and a guard that is gone is noticed."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from faregate.store import schema as migrating
from tests.mutate import guards, schema
from tests.mutate.bench import Bench
from tests.mutate.mutant import ROOT, Mutant, Rotten
from tests.mutate.sql import cuts, statements

SMALL = """
-- A table; with a comment.
CREATE TABLE t(a INTEGER NOT NULL CHECK(a > 0 AND a < 9), b TEXT, UNIQUE(b), CHECK(a BETWEEN 1 AND 5 OR b = ';'));
CREATE TRIGGER g BEFORE UPDATE OF a, b ON t WHEN NEW.a = 1
BEGIN
  SELECT CASE WHEN OLD.a = 2 THEN RAISE(ABORT, 'x') WHEN OLD.a = 3 AND OLD.b = 'END' THEN RAISE(ABORT, 'y') END;
END;
CREATE UNIQUE INDEX u ON t(a);
"""


def test_every_guard_stands_exactly_once_in_the_code() -> None:
    assert len(guards.mutants()) > 300


def test_every_mutant_has_a_name_of_its_own_and_each_equivalent_one_is_there() -> None:
    every = [*schema.mutants(), *guards.mutants()]

    assert len({mutant.name for mutant in every}) == len(every)
    assert all(reason.strip() for reason in schema.equivalents(every).values())


def test_every_mutant_changes_its_file_and_names_tests_that_exist() -> None:
    for mutant in [*schema.mutants(), *guards.mutants()]:
        text = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert mutant.of(text) != text
        assert any((ROOT / test).exists() for test in mutant.tests), mutant.name


def test_a_mutant_whose_file_has_changed_is_refused() -> None:
    mutant = guards.mutants()[0]

    with pytest.raises(Rotten, match="has changed"):
        mutant.of("something else")


def test_the_splitter_takes_out_each_piece_alone() -> None:
    found = [(statement.name, cut.what) for statement in statements(SMALL, true="1") for cut in cuts(statement)]

    assert found == [
        ("t", "a may be NULL"),
        ("t", "a without CHECK(a > 0 AND a < 9)"),
        ("t", "no UNIQUE(b)"),
        ("t", "no CHECK(a BETWEEN 1 AND 5 OR b = ';')"),
        ("t", "without a > 0"),
        ("t", "without a < 9"),
        ("t", "without a BETWEEN 1 AND 5"),
        ("t", "without b = ';'"),
        ("g", "no trigger"),
        ("g", "does not watch a"),
        ("g", "does not watch b"),
        ("g", "without OLD.a = 3"),
        ("g", "without OLD.b = 'END'"),
        ("g", "no arm WHEN OLD.a = 2 THEN RAISE(ABORT, 'x')"),
        ("g", "no arm WHEN OLD.a = 3 AND OLD.b = 'END' THEN RAISE(ABORT, 'y')"),
        ("u", "not unique"),
    ]


def test_every_piece_of_a_small_schema_leaves_a_schema() -> None:
    for statement in statements(SMALL, true="1"):
        for cut in cuts(statement):
            text = SMALL[: statement.start + cut.start] + cut.new + SMALL[statement.start + cut.end :]
            connection = sqlite3.connect(":memory:")
            connection.executescript(text)
            connection.close()


@pytest.mark.parametrize("dialect", schema.TRUE)
def test_each_guard_of_the_schema_has_its_mutant(dialect: str) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in schema.files(dialect))
    words = " ".join(line.partition("--")[0] for line in text.splitlines()).upper()
    names = [mutant.name for mutant in schema.mutants() if mutant.dialect == dialect]

    assert sum(": no trigger" in name for name in names) == words.count("CREATE TRIGGER")
    assert sum("CHECK(" in name for name in names) >= words.count("CHECK(")
    assert sum("FOREIGN KEY" in name for name in names) == words.count("FOREIGN KEY")
    assert sum("not unique" in name for name in names) == words.count("CREATE UNIQUE INDEX")


def test_every_mutant_of_the_schema_is_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {file.name: file.read_text(encoding="utf-8") for file in schema.files("sqlite")}
    for mutant in schema.mutants():
        if mutant.dialect == "sqlite":
            name = Path(mutant.file).name
            mutated = texts | {name: mutant.of(texts[name])}
            numbered = list(enumerate(mutated.values(), start=1))
            monkeypatch.setattr(migrating, "migrations", lambda numbered=numbered: numbered)
            connection = sqlite3.connect(":memory:", isolation_level=None)
            try:
                migrating.migrate(connection, Path("memory"))
            except sqlite3.IntegrityError:
                pass  # The migration's own rows are refused: that is a schema, and a strict one.
            finally:
                connection.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("mutate") / "copy", server=None, seed=1, quick=True)
    yield bench
    bench.stop()


def named(name: str) -> Mutant:
    return next(mutant for mutant in [*schema.mutants(), *guards.mutants()] if mutant.name == name)


def test_a_guard_of_the_schema_that_is_gone_is_noticed(bench: Bench) -> None:
    verdict = bench.try_out(named("sqlite hold_kept: no trigger"))

    assert not verdict.stillborn
    assert "test_nothing_is_ever_deleted" in verdict.killer


def test_a_guard_in_the_code_that_is_gone_is_noticed(bench: Bench) -> None:
    verdict = bench.try_out(named("ledger: the hold bounds the charge"))

    assert not verdict.stillborn
    assert verdict.killer.startswith("tests/core/test_ledger.py")


def test_what_no_test_notices_is_alive_and_what_is_no_program_is_stillborn(bench: Bench) -> None:
    guard = named("ledger: the hold bounds the charge")

    alive = bench.try_out(msgspec.structs.replace(guard, at=0, old="", new="# More.\n"))
    broken = bench.try_out(msgspec.structs.replace(guard, at=0, old="", new="("))

    assert (alive.killer, alive.stillborn) == ("", "")
    assert "collected" in broken.stillborn


def test_a_name_that_no_mutant_has_is_refused() -> None:
    command = [sys.executable, "-m", "tests.mutate", "--only", "no such guard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "there is no mutant with 'no such guard'" in done.stderr
