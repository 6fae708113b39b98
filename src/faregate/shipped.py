"""The catalog on disk: the file that comes with the package, and an operator's own.

The rule: `core` takes texts and reads nothing; this is where the texts are read, once, at start.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from faregate.core.catalog import Catalog, CatalogError, Problem, load

SHIPPED = "models.toml"


def shipped_text() -> str:
    """The catalog file of this version."""
    return (resources.files("faregate.core") / SHIPPED).read_text("utf-8")


def load_catalog(files: Sequence[Path] = ()) -> Catalog:
    """The shipped catalog with an operator's files. Raises CatalogError, for a file that cannot be read too."""
    more: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            more.append((str(file), file.read_text("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(file), "", "", f"cannot be read: {error}"))
    if problems:
        raise CatalogError(problems)
    return load(shipped_text(), source=SHIPPED, more=more)
