"""Catalogs for the tests: the shipped one, and texts that differ from it in one place."""

import functools

from faregate.core.catalog import Catalog, Model, load
from faregate.shipped import load_catalog, shipped_text

HAIKU, SONNET, OPUS = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7"


@functools.cache
def shipped() -> Catalog:
    return load_catalog()


def model(name: str = HAIKU) -> Model:
    found = shipped().find(name)
    assert found is not None
    return found


def edited(old: str, new: str) -> str:
    """The shipped text with its first `old` replaced."""
    text = shipped_text()
    assert old in text, old
    return text.replace(old, new, 1)


def extended(more: str) -> Catalog:
    """The shipped catalog with an operator's file."""
    return load(shipped_text(), source="models.toml", more=[("mine.toml", more)])
