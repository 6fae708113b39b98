"""The guards in Python that keep money right: those that tables/*.toml name, and each rule of the audit.

A guard is found by its exact text, which stands once in its file: a table that no longer fits is refused.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.mutate.mutant import ROOT, Mutant, Rotten

TABLES: Final = Path(__file__).parent / "tables"
AUDIT: Final = "src/faregate/store/audit.py"
NOTHING: Final = '        "SELECT id FROM account WHERE 1 = 0",\n'


def mutants() -> list[Mutant]:
    """All of them. Raises Rotten for one whose text has changed."""
    named = [mutant for table in sorted(TABLES.glob("*.toml")) for mutant in _of_table(table)]
    return [*named, *_rules()]


def _of_table(table: Path) -> Iterator[Mutant]:
    for file in tomllib.loads(table.read_text(encoding="utf-8"))["file"]:
        path = f"src/faregate/{file['path']}"
        text = (ROOT / path).read_text(encoding="utf-8")
        for guard in file["guard"]:
            yield _found(guard, path, text, file)


def _found(guard: dict[str, Any], path: str, text: str, file: dict[str, Any]) -> Mutant:
    old = guard["old"]
    if (count := text.count(old)) != 1:
        raise Rotten(f"guards: {guard['name']}: its text stands {count} times in {path}, and not once:\n{old}")
    return Mutant(
        name=guard["name"],
        file=path,
        at=text.index(old),
        old=old,
        new=guard["new"],
        why=guard["why"],
        tests=tuple(file["tests"]),
        dialect=file.get("dialect"),
    )


def _rules() -> Iterator[Mutant]:
    """Each rule of the audit, with a query that finds nothing."""
    text = (ROOT / AUDIT).read_text(encoding="utf-8")
    head, *rules = text[: text.index("\ndef run")].split("    Rule(\n")
    at = len(head)
    for rule in rules:
        at += len("    Rule(\n")
        name, meaning, _ = rule.split("\n", 2)
        begins, ends = len(name) + len(meaning) + 2, rule.index("\n    ),") + 1
        yield Mutant(
            name=f"audit: {name.strip(' ,').strip(chr(34))} finds nothing",
            file=AUDIT,
            at=at + begins,
            old=rule[begins:ends],
            new=NOTHING,
            why=meaning.strip(' ,"'),
            tests=("tests/store/test_audit.py",),
        )
        at += len(rule)
