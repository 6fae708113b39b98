"""`faregate wallet`, as an operator types it.

Method: commands in this process over a real database; and a server that takes a request and falls silent.
"""

import contextlib
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.settings import load
from tests.cli.conftest import Run


def test_a_wallet_is_opened_with_credits_and_shown(faregate: Run) -> None:
    made = faregate("wallet", "create", "demo", "--credits", "5000000", "--json")

    assert made.code == 0
    assert (made.json["name"], made.json["balance"]) == ("demo", "5000000")
    assert faregate("wallet", "show", "demo", "--json").json == made.json
    assert faregate("wallet", "list", "--json").json == {"wallets": [made.json]}


def test_a_person_reads_aligned_columns_with_grouped_digits(faregate: Run) -> None:
    faregate("wallet", "create", "demo", "--credits", "5000000.5")
    lines = faregate("wallet", "list").out.splitlines()

    assert lines[0].split() == ["name", "balance", "held", "available", "id"]
    assert lines[1].startswith("demo  5,000,000.5     0  5,000,000.5  wal_")
    assert "balance    5,000,000.5\n" in faregate("wallet", "show", "demo").out


@pytest.mark.parametrize("credits", ["x", "0", "-5", "1.0001"])
def test_no_wallet_is_opened_with_credits_that_are_none(faregate: Run, credits: str) -> None:  # noqa: A002  # the flag's name
    faregate("wallet", "create", "first")

    refused = faregate("wallet", "create", "demo", "--credits", credits)
    assert refused.code == 2
    assert "--credits" in refused.err
    assert len(faregate("wallet", "list", "--json").json["wallets"]) == 1


def test_a_taken_name_is_one_line_and_exit_code_1(faregate: Run) -> None:
    faregate("wallet", "create", "demo")
    refused = faregate("wallet", "create", "demo", "--credits", "5", "--json")

    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("faregate: ") and refused.err.count("\n") == 1
    assert faregate("wallet", "show", "demo", "--json").json["balance"] == "0"


def test_a_floor_can_be_set_below_zero(faregate: Run) -> None:
    assert faregate("wallet", "create", "demo", "--floor=-500", "--json").json["floor"] == "-500"


def test_a_topup_with_a_reference_is_safe_to_repeat(faregate: Run) -> None:
    faregate("wallet", "create", "demo")
    for _ in range(2):
        moved = faregate("wallet", "topup", "demo", "10", "--reference", "inv-1", "--note", "paid", "--json")
        assert (moved.code, moved.json["amount"], moved.json["note"]) == (0, "10", "paid")

    assert faregate("wallet", "show", "demo", "--json").json["balance"] == "10"


def test_an_adjustment_may_be_negative_without_ado(faregate: Run) -> None:
    faregate("wallet", "create", "demo", "--credits", "10")
    moved = faregate("wallet", "adjust", "demo", "-2.5", "--note", "typo")

    assert moved.code == 0
    assert "credits    2.5\n" in moved.out
    assert faregate("wallet", "show", "demo", "--json").json["balance"] == "7.5"
    listed = faregate("wallet", "transfers", "demo").out.splitlines()
    assert listed[1].endswith("typo") and "adjust" in listed[1]


def test_an_adjustment_needs_its_reason(faregate: Run) -> None:
    faregate("wallet", "create", "demo")

    assert "--note" in faregate("wallet", "adjust", "demo", "1").err


def test_a_wallet_may_be_named_anything_that_can_be_printed(faregate: Run) -> None:
    name = "Ünï & co? #1 100%"
    faregate("wallet", "create", name, "--credits", "1")

    assert faregate("wallet", "show", name, "--json").json["name"] == name
    assert faregate("wallet", "topup", name, "1").code == 0


@contextlib.contextmanager
def silent(folder: Path) -> Iterator[None]:
    """At the owner's socket, whoever asks is hung up on."""
    path = load({"FAREGATE_HOME": str(folder)}, folder=folder.parent).socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        hanging_up = threading.Thread(target=_hang_up, args=(listener,))
        hanging_up.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        hanging_up.join()
    path.unlink()


def _hang_up(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.mark.parametrize(
    "command",
    [
        ("topup", "demo", "5"),
        ("adjust", "demo", "-5", "--note", "it was a typo"),
        ("topup", "demo", "5", "--reference", "invoice 7"),
    ],
)
def test_whoever_is_left_unsure_is_told_how_to_ask_again_without_moving_twice(
    faregate: Run, folder: Path, command: tuple[str, ...]
) -> None:
    faregate("wallet", "create", "demo", "--credits", "100")
    with silent(folder):
        unsure = faregate("wallet", *command)
    assert (unsure.code, unsure.out, unsure.err.count("\n")) == (1, "", 1)
    again = shlex.split(unsure.err.partition("nothing twice: faregate ")[2])
    assert again[: 1 + len(command)][:4] == ["wallet", *command[:3]]
    for _ in range(2):
        moved = faregate(*again, "--json")
        assert moved.json["reference"] == again[-1]

    assert len(faregate("wallet", "transfers", "demo", "--json").json["transfers"]) == 2


def test_each_command_has_a_reference_of_its_own(faregate: Run) -> None:
    faregate("wallet", "create", "demo")
    references = {faregate("wallet", "topup", "demo", "5", "--json").json["reference"] for _ in range(2)}

    assert len(references) == 2 and all(re.fullmatch("cli_[0-9A-Z]{26}", reference) for reference in references)
    assert faregate("wallet", "show", "demo", "--json").json["balance"] == "10"


def test_what_was_refused_was_not_done_and_needs_no_reference(faregate: Run) -> None:
    assert "--reference" not in faregate("wallet", "topup", "none", "5").err
