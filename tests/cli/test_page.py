"""The commands' page says what the commands say.

Method: compare the page in the repository with one made now.
"""

from pathlib import Path

import pytest

from faregate.cli.page import page

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_page_is_what_the_commands_make_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    assert PAGE.read_text() == page(), "run `make docs`: docs/commands.md is made from the commands"


def test_the_page_has_every_command_of_the_contract() -> None:
    text = page()
    for command in (
        "serve", "wallet create", "wallet list", "wallet show", "wallet topup", "wallet adjust", "key create",
        "key list", "key show", "key revoke", "usage", "catalog show", "catalog check", "price add", "audit",
        "doctor", "migrate",
    ):  # fmt: skip
        assert f"\n## `faregate {command}`\n" in text, command
