"""The mutants of the schema, found in the migrations themselves: who adds a constraint adds its mutants.

equivalent.toml names the few that change nothing, each with its reason; they are counted apart.
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Final

from tests.mutate.mutant import ROOT, Mutant, Rotten
from tests.mutate.sql import cuts, statements

TRUE: Final = {"sqlite": "1", "postgres": "true"}
NAME_MAX: Final = 110

REFUSALS: Final = tuple(
    f"tests/store/test_{name}.py"
    for name in (
        "refusals",
        "refusals_charges",
        "refusals_holds",
        "refusals_freed",
        "refusals_columns",
        "refusals_twins",
        "refusals_batches",
        "statements",
        "records",
    )
)
BESIDE: Final = {
    "rate": ("tests/store/test_rates.py",),
    "abandoned": ("tests/store/test_rates.py", "tests/store/test_rates_abandoned.py"),
    "answer": ("tests/store/test_answers.py",),
    "answer_until": ("tests/store/test_answers.py",),
    "key_told": ("tests/store/test_listener.py",),
    "price_told": ("tests/store/test_listener.py",),
    **dict.fromkeys(
        ("transfer_apply", "hold_taken", "hold_freed", "charge_end"), ("tests/store/test_schema_postgres.py",)
    ),
}
"""What has tests of its own beside the refusals."""


def mutants() -> list[Mutant]:
    """Every constraint, index, trigger and term of a condition, gone, on each of the two databases."""
    return [mutant for dialect in TRUE for file in files(dialect) for mutant in _of_file(dialect, file)]


def files(dialect: str) -> list[Path]:
    """The migrations of a database, in order."""
    return sorted((ROOT / "src/faregate/store/migrations" / dialect).glob("*.sql"))


def equivalents(among: list[Mutant]) -> dict[str, str]:
    """The mutants that change nothing, and why. Raises Rotten for one that does not exist."""
    kept = tomllib.loads((Path(__file__).parent / "equivalent.toml").read_text(encoding="utf-8"))
    reasons = {name: reason for reason, names in kept.items() for name in names}
    if unknown := reasons.keys() - {mutant.name for mutant in among}:
        raise Rotten(f"equivalent.toml: there is no mutant of the name {min(unknown)}")
    return reasons


def _of_file(dialect: str, file: Path) -> list[Mutant]:
    text = file.read_text(encoding="utf-8")
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for statement in statements(text, true=TRUE[dialect]):
        for cut in cuts(statement):
            name = f"{dialect} {statement.name}: {cut.what}"
            name = name if len(name) <= NAME_MAX else f"{name[:NAME_MAX]}..."
            seen[name] += 1
            at = statement.start + cut.start
            found.append(
                Mutant(
                    name=f"{name} #{seen[name]}" if seen[name] > 1 else name,
                    file=str(file.relative_to(ROOT)),
                    at=at,
                    old=text[at : statement.start + cut.end],
                    new=cut.new,
                    why="what must never happen is refused by the database, whoever writes",
                    tests=REFUSALS + BESIDE.get(statement.name, ()),
                    dialect=dialect,
                    schema=True,
                )
            )
    return found
