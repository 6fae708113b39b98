"""Shapes of JSON values, and the one exception for a request that does not have them.

The rule: every check raises Malformed with a path relative to what it was given, and each caller puts its own part in
front as the exception passes (`error.under(3)`), so that a path costs nothing until something is wrong. The sentences
are those of the Messages API, because clients match on them.

    string(block.get("text"))  ->  Malformed("Input should be a valid string"), path ""
    under("text"), under(0), under("content")  ->  path "content.0.text"
"""

from collections.abc import Collection
from typing import Any, Final

EXTRA: Final = "Extra inputs are not permitted"
"""The wording by which clients learn to leave a field out."""


class Malformed(Exception):
    """A request that breaks the wire format."""

    def __init__(self, message: str, path: str = "", *, invalid_json: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        """Where: `messages.3.content.0.source.media_type`; empty for the body itself."""
        self.invalid_json = invalid_json

    def under(self, part: str | int) -> None:
        """Put one more part in front of the path, on the way out."""
        self.path = f"{part}.{self.path}" if self.path else str(part)

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class at:  # noqa: N801 - it reads as a word: `with at("source")`
    """Put a part in front of the path of what is raised inside."""

    __slots__ = ("_part",)

    def __init__(self, part: str | int) -> None:
        self._part = part

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Malformed):
            error.under(self._part)


def required(holder: dict[str, Any], name: str) -> Any:
    """The value under `name`, which must be there."""
    try:
        return holder[name]
    except KeyError:
        raise Malformed("Field required", name) from None


def text(holder: dict[str, Any], name: str) -> str:
    """A string that must be there."""
    value = holder.get(name)
    if type(value) is not str:
        required(holder, name)
        raise Malformed("Input should be a valid string", name)
    return value


def table(holder: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that must be there."""
    value = holder.get(name)
    if type(value) is not dict:
        required(holder, name)
        raise Malformed("Input should be an object", name)
    return value


def string(value: object) -> None:
    """A string."""
    if type(value) is not str:
        raise Malformed("Input should be a valid string")


def boolean(value: object) -> None:
    """A boolean, not 0 or 1."""
    if type(value) is not bool:
        raise Malformed("Input should be a valid boolean")


def integer(value: object) -> None:
    """A whole number; true is not one."""
    if type(value) is not int:
        raise Malformed("Input should be a valid integer")


def number(value: object) -> None:
    """A number; true is not one."""
    if type(value) is not int and type(value) is not float:
        raise Malformed("Input should be a valid number")


def mapping(value: object) -> None:
    """An object."""
    if type(value) is not dict:
        raise Malformed("Input should be an object")


def sequence(value: object) -> None:
    """An array."""
    if type(value) is not list:
        raise Malformed("Input should be a valid array")


def one_of(value: object, choices: Collection[str], name: str = "") -> None:
    """One of a few strings."""
    if type(value) is not str or value not in choices:
        *most, last = (f"'{choice}'" for choice in choices)
        listed = f"{', '.join(most)} or {last}" if most else last
        raise Malformed(f"Input should be {listed}", name)
