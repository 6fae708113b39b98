"""`faregate catalog`: what is known of the models, and whether it is consistent."""

from pathlib import Path
from typing import Annotated

import typer

from faregate.cli.options import Json, group, settings_of
from faregate.cli.refusals import CANNOT_START
from faregate.cli.show import print_json, print_table


def catalog_group() -> typer.Typer:
    """Build the commands."""
    catalog: typer.Typer = group("The catalog: what is known of the models.")
    catalog.command("show")(show)
    catalog.command("check")(check)
    return catalog


def show(context: typer.Context, as_json: Json = False) -> None:
    """List the models that calls may ask for, with their limits and names."""
    from faregate.shipped import load_catalog  # noqa: PLC0415  # `--help` does not wait for it

    models = load_catalog(settings_of(context).catalog.files).models()
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "id": model.id,
                        "display_name": model.display_name,
                        "lifecycle": model.lifecycle,
                        "aliases": list(model.aliases),
                        "context_window": model.context_window,
                        "max_output": model.max_output,
                        "price_versions": [version.id for version in model.prices],
                    }
                    for model in models
                ]
            }
        )
        return
    print_table(
        ("model", "state", "context", "output", "aliases", "price versions"),
        (
            (m.id, m.lifecycle, f"{m.context_window:,}", f"{m.max_output:,}", m.aliases, [v.id for v in m.prices])
            for m in models
        ),
    )


def check(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Files to check beside those of the settings.")] = None,
    as_json: Json = False,
) -> None:
    """Check the catalog with your own files; exit code 0 only when it is consistent."""
    from faregate.core.catalog import CatalogError  # noqa: PLC0415  # `--help` does not wait for it
    from faregate.shipped import load_catalog  # noqa: PLC0415

    settings = settings_of(context)
    aliases = {route.model: route.aliases for route in settings.routes}
    try:
        catalog = load_catalog((*settings.catalog.files, *(files or ()))).with_aliases(aliases, source="routes")
        problems: list[str] = []
    except CatalogError as error:
        problems = [str(problem) for problem in error.problems]
    if as_json:
        print_json({"consistent": not problems, "problems": problems})
    elif problems:
        typer.echo("\n".join(problems), err=True)
    else:
        models = catalog.models()
        typer.echo(f"consistent: {len(models)} models, {sum(len(model.prices) for model in models)} price versions")
    if problems:
        raise typer.Exit(CANNOT_START)
