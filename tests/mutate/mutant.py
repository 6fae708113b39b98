"""A mutant: one guard taken out of one file, and the tests that should notice."""

from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).parents[2]


class Rotten(Exception):
    """A mutant that does not fit the code any more. The message names it."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """`old` at `at` in `file` becomes `new`."""

    name: str
    file: str
    """From the root of the repository."""
    at: int
    old: str
    new: str
    why: str
    tests: tuple[str, ...]
    """The test files most likely to fail, in that order."""
    dialect: str | None = None
    """The database that alone has this guard; None where both do, or where no database is about."""
    schema: bool = False
    """Whether `file` is a migration."""

    def of(self, text: str) -> str:
        """The file's text without the guard. Raises Rotten."""
        if text[self.at : self.at + len(self.old)] != self.old:
            raise Rotten(f"{self.name}: {self.file} has changed")
        return text[: self.at] + self.new + text[self.at + len(self.old) :]
