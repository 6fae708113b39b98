"""The catalog: every model that is served, found by its id or an alias. Texts come in, nothing is read here.

The rule: an inconsistent catalog is refused whole, and all that is wrong with it is said at once: CatalogError carries
one Problem (file, model, key, sentence) for each fault. The shipped file comes first; an operator's files may add
models, and to a shipped model aliases, parameters and later prices, and say of it whether its upstream runs to
completion; they change nothing that it says of its limits.

    load(text, source="models.toml", more=[("operator.toml", text)])  ->  Catalog
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from faregate.core.entries import NAME, NAME_RULE, Origins, Problem, Report, read_limits, read_prices, read_rules
from faregate.core.model import Model
from faregate.core.pricing import PriceVersion

__all__ = ["Catalog", "CatalogError", "Model", "Problem", "load"]

EXTENDABLE: Final = ("aliases", "parameters", "prices", "runs_to_completion")
"""What an operator's file may say of a model that an earlier file describes."""


class CatalogError(Exception):
    """A catalog that cannot be served from; one sentence a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Catalog:
    """Never changes once it is made."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {model.id: model for model in models}
        self._names = {name: model for model in self._models.values() for name in (model.id, *model.aliases)}

    def find(self, name: str) -> Model | None:
        """The model of this id or alias. Retired ones are found too: admission says that they are gone."""
        return self._names.get(name)

    def models(self) -> list[Model]:
        """Every model, in the order of the files."""
        return list(self._models.values())

    def prices(self) -> list[PriceVersion]:
        """Every price version, by model, then by date."""
        return [version for model in self._models.values() for version in model.prices]

    def with_aliases(self, aliases: Mapping[str, Sequence[str]], *, source: str) -> "Catalog":
        """This catalog with more aliases, by model (the routes of a settings file). Raises CatalogError."""
        report = Report()
        models = dict(self._models)
        for name, more in aliases.items():
            found = self.find(name)
            if found is None:
                report.add(source, name, "", f"no such model; there are {', '.join(self._models)}")
            else:
                model = models[found.id]
                added = tuple(alias for alias in dict.fromkeys(more) if alias not in (model.id, *model.aliases))
                models[model.id] = msgspec.structs.replace(model, aliases=(*model.aliases, *added))
        names = {model.id: model.aliases for model in models.values()}
        _check_names(names, Origins({(name, ""): source for name in models}), report)
        if report.problems:
            raise CatalogError(report.problems)
        return Catalog(models.values())


def load(text: str, *, source: str, more: Sequence[tuple[str, str]] = ()) -> Catalog:
    """Read the shipped text and an operator's. Raises CatalogError with every problem of all of them."""
    report = Report()
    shared: dict[str, Any] = {}
    drafts: dict[str, dict[str, Any]] = {}
    origins = Origins()
    for position, (file, content) in enumerate([(source, text), *more]):
        tables = _parse(file, content, report)
        if position == 0:
            shared = _table(tables.pop("parameters", None), file, "", "parameters", report)
        models = _table(tables.pop("models", {}), file, "", "models", report)
        for key in tables:
            report.add(file, "", key, "not a key of a catalog: it has [models], and the shipped one [parameters]")
        for name, draft in models.items():
            if type(draft) is not dict:
                report.add(file, name, "", "should be a table")
            elif name in drafts:
                _extend(name, drafts[name], draft, origins, file=file, report=report)
            else:
                drafts[name] = {**draft, "prices": read_prices(name, draft.get("prices"), file, report)}
                origins[name, ""] = file
    models_read = [_model(name, draft, shared, origins, report) for name, draft in drafts.items()]
    _check_names({name: draft.get("aliases", ()) for name, draft in drafts.items()}, origins, report)
    if not drafts and not report.problems:
        report.add(source, "", "models", "a catalog without a model serves nobody")
    if report.problems:
        raise CatalogError(report.problems)
    return Catalog(model for model in models_read if model is not None)


def _parse(file: str, content: str, report: Report) -> dict[str, Any]:
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        report.add(file, "", "", f"not valid TOML: {error}")
        return {}


def _table(value: object, file: str, model: str, key: str, report: Report) -> dict[str, Any]:
    if type(value) is dict:
        return value
    report.add(file, model, key, "should be a table")
    return {}


def _extend(
    name: str, draft: dict[str, Any], more: dict[str, Any], origins: Origins, *, file: str, report: Report
) -> None:
    """Add what a later file says of a model that is already there."""
    for key in more:
        if key not in EXTENDABLE:
            report.add(
                file, name, key, f"a model of an earlier file takes only {', '.join(EXTENDABLE)} from a later one"
            )
    if "aliases" in more:
        aliases = more["aliases"]
        if type(aliases) is list and all(type(alias) is str for alias in aliases):
            draft["aliases"] = [*draft.get("aliases", []), *aliases]
            origins.update({(name, f"aliases.{alias}"): file for alias in aliases})
        else:
            report.add(file, name, "aliases", "should be an array of strings")
    if "runs_to_completion" in more:  # What an upstream bills of a call that was cut is for its operator to know.
        if type(more["runs_to_completion"]) is bool:
            draft["runs_to_completion"] = more["runs_to_completion"]
        else:
            report.add(file, name, "runs_to_completion", "should be true or false")
    rules = _table(more.get("parameters", {}), file, name, "parameters", report)
    merged = dict(draft.get("parameters", {}))
    for parameter, rule in rules.items():
        # It stands in place of the model's own rule, and over the shared one: a mix of two would be nobody's decision.
        merged[parameter] = rule
        origins[name, f"parameters.{parameter}"] = file
    draft["parameters"] = merged
    if "prices" in more:
        draft["prices"] = _merge(draft["prices"], read_prices(name, more["prices"], file, report), file, report)


def _merge(
    known: tuple[PriceVersion, ...], added: tuple[PriceVersion, ...], file: str, report: Report
) -> tuple[PriceVersion, ...]:
    taken = {version.valid_from_ms for version in known}
    for version in added:
        if version.valid_from_ms in taken:
            report.add(
                file,
                version.model,
                "prices",
                f"{version.id} exists: a price version is never edited, append a later one",
            )
    return tuple(sorted((*known, *added), key=lambda version: version.valid_from_ms))


def _model(name: str, draft: dict[str, Any], shared: dict[str, Any], origins: Origins, report: Report) -> Model | None:
    file = origins[name, ""]
    before = len(report.problems)
    if NAME.fullmatch(name) is None:
        report.add(file, name, "", f"not a name: {NAME_RULE}")
    rules = read_rules(name, shared, draft.get("parameters", {}), origins, report)
    limits = read_limits(name, draft, file, report)
    if len(report.problems) > before:
        return None
    judged = {parameter: rule for parameter, rule in rules.items() if not rule.plain}
    return Model(id=name, parameters=rules, judged=judged, prices=draft["prices"], **limits)


def _check_names(names: Mapping[str, Any], origins: Origins, report: Report) -> None:
    """Every id and alias names one model. Aliases that are no strings are reported where limits are read."""
    owners = {name: name for name in names}
    for name, aliases in names.items():
        for alias in aliases if isinstance(aliases, list | tuple) else ():
            if type(alias) is not str:
                continue
            file = origins.of(name, f"aliases.{alias}")
            if NAME.fullmatch(alias) is None:
                report.add(file, name, "aliases", f"{alias!r} is not a name: {NAME_RULE}")
            if alias in owners:
                report.add(file, name, "aliases", f"{alias!r} already names {owners[alias]}")
            owners[alias] = name
