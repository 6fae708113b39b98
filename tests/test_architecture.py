"""The rules of the house that no linter knows, each with its reason.

Method: read every source file as text and as a syntax tree. Import rules are import-linter's (pyproject.toml).
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "faregate"
SOURCES: Final = sorted(PACKAGE.rglob("*.py"))
EVERYTHING: Final = sorted(path for folder in ("src", "tests", "bench") for path in (ROOT / folder).rglob("*.py"))

LINES_MAX: Final = 300
FUNCTION_LINES_MAX: Final = 70

COUNTS_NO_MONEY: Final = ("committer.py",)
"""The committer carries commands without reading an amount in them, and its waits are seconds."""

MONEY: Final = [
    *(PACKAGE / "core" / f"{name}.py" for name in ("money", "pricing", "costs", "ledger", "quote")),
    *(path for path in sorted((PACKAGE / "store").rglob("*.py")) if path.name not in COUNTS_NO_MONEY),
]

UNMIRRORED: Final = {
    "__init__.py": "it only names what a package is; cli's has tests/test_cli.py",
    "__main__.py": "it is one call, and tests/test_cli.py makes it",
    "opened.py": "it names the parts of an open database; both that have them are tested",
    "port.py": "it declares protocols; what carries them out is tested",
}

Broken = Iterator[tuple[str, str]]
"""Where a rule is broken, and how."""


def hold(broken: Iterable[tuple[str, str]], reason: str) -> None:
    found = [f"  {where}: {how}" for where, how in broken]
    if found:
        pytest.fail("\n".join([f"{reason}:", *found]), pytrace=False)


def label(path: Path, node: ast.AST | None = None) -> str:
    place = str(path.relative_to(ROOT))
    return place if node is None else f"{place}:{getattr(node, 'lineno', 0)}"


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def strings(path: Path) -> Iterator[ast.Constant]:
    """String constants that the program uses; what only documents is left out."""
    module = tree(path)
    documents = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node


def test_a_file_fits_in_a_head() -> None:
    sizes = [(path, len(path.read_text().splitlines())) for path in EVERYTHING]

    hold(
        ((label(path), f"{lines} lines") for path, lines in sizes if lines > LINES_MAX),
        f"a file has at most {LINES_MAX} lines; split it where a name appears",
    )


def test_a_function_fits_on_a_screen() -> None:
    def broken() -> Broken:
        for path in SOURCES:
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > FUNCTION_LINES_MAX:
                        yield label(path, node), f"{node.name} has {lines} lines"

    hold(broken(), f"a function has at most {FUNCTION_LINES_MAX} lines; give a part of it a name")


def test_a_module_says_what_it_is_for() -> None:
    hold(
        ((label(path), "no docstring") for path in EVERYTHING if not ast.get_docstring(tree(path))),
        "a module begins with what it is for, its one rule, and its shape",
    )


def test_a_module_has_its_test() -> None:
    def broken() -> Broken:
        for path in SOURCES:
            mirror = ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.stem}.py"
            if path.name not in UNMIRRORED and not mirror.exists():
                yield label(path), f"no {label(mirror)}"

    hold(broken(), "a module is tested under its own name, or its test is not found when it is needed")


def test_money_never_meets_a_float() -> None:
    def broken() -> Broken:
        for path in MONEY:
            module = tree(path)
            waits = set(seconds(module))
            for node in ast.walk(module):
                if isinstance(node, ast.Constant) and isinstance(node.value, float) and node not in waits:
                    yield label(path, node), f"the literal {node.value}"
                name = getattr(node, "id", None) or getattr(node, "attr", None)
                if name in ("float", "Decimal", "Fraction"):
                    yield label(path, node), f"the name {name}"
                if divides(node):
                    yield label(path, node), "a division by /; use // and say which way it rounds"

    hold(broken(), "money is a whole number of nanodollars, and a float loses some of them")


def seconds(module: ast.Module) -> Iterator[ast.AST]:
    """What is assigned to a constant named in seconds (`WAIT_S = 0.5`): waits are not money."""
    for node in ast.walk(module):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.endswith("_S"):
            yield from ast.walk(node)


def divides(node: ast.AST) -> bool:
    """Whether it divides numbers: with a text on its right, `/` joins paths."""
    if not isinstance(node, ast.BinOp | ast.AugAssign) or not isinstance(node.op, ast.Div):
        return False
    right = node.right if isinstance(node, ast.BinOp) else node.value
    return not isinstance(right, ast.JoinedStr) and not isinstance(getattr(right, "value", None), str)


def test_the_lower_floors_never_wait() -> None:
    lower = [path for path in SOURCES if path.relative_to(PACKAGE).parts[0] in ("wire", "core")]
    waits = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith

    assert len(lower) > 10
    hold(
        ((label(path, node), "waits") for path in lower for node in ast.walk(tree(path)) if isinstance(node, waits)),
        "wire and core are pure, so that a simulation can own time",
    )


SQL: Final = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+INTO|UPDATE\s.+\sSET|DELETE\s+FROM|CREATE\s+TABLE|PRAGMA)\s", re.DOTALL
)


def test_sql_is_spoken_in_the_store_alone() -> None:
    others = [path for path in SOURCES if path.relative_to(PACKAGE).parts[0] != "store"]

    hold(
        ((label(path, text), "SQL") for path in others for text in strings(path) if SQL.search(str(text.value))),
        "a check that is not part of the write is a race, so whoever checks and writes is the store",
    )


def test_a_model_is_named_in_the_catalog_alone() -> None:
    models = tomllib.loads((PACKAGE / "core" / "models.toml").read_text())["models"]
    names = {name for model, entry in models.items() for name in (model, *entry.get("aliases", ()))}
    assert len(names) > 3

    def broken() -> Broken:
        for path in SOURCES:
            for text in strings(path):
                for name in names:
                    if name in str(text.value):
                        yield label(path, text), name

    hold(broken(), "what is true of a model is said in core/models.toml and nowhere else")


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))

    def broken() -> Broken:
        for path in EVERYTHING:
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                if marks.search(line):
                    yield f"{label(path)}:{number}", line.strip()

    hold(broken(), "what is undone is done now, or filed as an issue")


def test_lock_files_name_no_index_and_pin_every_hash() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert len(locks) == 5

    def broken() -> Broken:
        for path in locks:
            text = path.read_text()
            for line in re.findall(r"^.*(?:://|index-url|--find-links|--trusted-host).*$", text, re.MULTILINE):
                yield label(path), line
            pins = re.findall(r"^([\w.\[\]-]+)==", text, re.MULTILINE)
            hashed = re.findall(r"^([\w.\[\]-]+)==[^\n]*\\\n\s+--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
            if not pins or pins != hashed:
                yield label(path), f"without a hash: {set(pins) - set(hashed)}"

    hold(broken(), "where packages come from is for whoever installs to say, and what they are is in their hashes")
