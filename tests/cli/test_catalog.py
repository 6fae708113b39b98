"""`faregate catalog`, as an operator types it.

Method: the shipped catalog, and files of one's own, good and bad.
"""

from pathlib import Path

from tests.cli.conftest import Run

BAD = "[models.claude-haiku-4-5]\ncontext_window = 1\n"


def test_the_models_are_shown_with_their_limits(faregate: Run) -> None:
    shown = faregate("catalog", "show", "--json").json

    haiku = next(model for model in shown["models"] if model["id"] == "claude-haiku-4-5")
    assert (haiku["context_window"], haiku["max_output"]) == (200_000, 8_192)
    assert "8,192" in faregate("catalog", "show").out


def test_the_shipped_catalog_is_consistent(faregate: Run) -> None:
    checked = faregate("catalog", "check", "--json")

    assert (checked.code, checked.json) == (0, {"consistent": True, "problems": []})
    assert faregate("catalog", "check").out.startswith("consistent: ")


def test_a_bad_file_is_refused_with_every_problem(faregate: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(BAD)

    checked = faregate("catalog", "check", "bad.toml", "none.toml", "--json")
    assert checked.code == 2
    assert checked.json["consistent"] is False
    person = faregate("catalog", "check", "bad.toml")
    assert (person.code, person.out) == (2, "")
    assert "bad.toml" in person.err and "context_window" in person.err


def test_a_bad_file_of_the_settings_stops_every_command_with_one_line(faregate: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(BAD)
    (tmp_path / "faregate.toml").write_text("[catalog]\nfiles = ['bad.toml']\n")

    refused = faregate("wallet", "create", "demo")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.count("\n") == 1 and "bad.toml" in refused.err


def test_a_route_to_a_model_that_is_not_there_is_a_problem(faregate: Run, tmp_path: Path) -> None:
    (tmp_path / "faregate.toml").write_text("[[routes]]\nmodel = 'claude-none'\nupstreams = ['local']\n")

    assert "claude-none" in faregate("catalog", "check").err
