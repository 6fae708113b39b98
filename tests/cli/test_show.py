"""What is printed is safe to print and true to its amounts.

Method: properties over any text and any amount.
"""

import io
from contextlib import redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.cli.show import grouped, print_facts, print_table, when
from faregate.core.money import show_credits


@given(st.integers(-(10**18), 10**18))
def test_grouping_changes_commas_only(nanos: int) -> None:
    amount = show_credits(nanos)

    assert grouped(amount).replace(",", "") == amount
    assert all(len(part) == 3 for part in grouped(amount).partition(".")[0].split(",")[1:])


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=5)), max_size=5))
def test_any_text_is_one_line_that_no_terminal_obeys(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        print_table(("a", "b"), rows)

    lines = out.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    assert all(character.isprintable() for line in lines for character in line)


def test_columns_are_aligned_and_numbers_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "credits"), [("a", "1,000"), ("longer", "-5"), ("none", None)])

    assert capsys.readouterr().out == "name    credits\na         1,000\nlonger       -5\nnone          -\n"


def test_markup_in_a_name_is_only_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [("[bold]x[/bold] :smile:",)])

    assert "[bold]x[/bold] :smile:" in capsys.readouterr().out


def test_facts_that_are_not_so_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts([("name", "a"), ("quota", None), ("models", ["x", "y"]), ("ips", [])])

    assert capsys.readouterr().out == "name    a\nmodels  x, y\n"


def test_a_time_is_shown_to_the_second() -> None:
    assert when("2026-11-22T20:15:03.123000Z") == "2026-11-22 20:15:03Z"
    assert when("2026-11-22T20:15:03Z") == "2026-11-22 20:15:03Z"
    assert when(None) == "-"
