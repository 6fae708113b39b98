"""The entries of a catalog file, one table at a time: limits, parameters, prices.

The rule: a fault is reported and reading goes on, so that one look at the answer mends the whole file. What is read
under a fault is never used: `load` raises in the end.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from faregate.core.model import Capabilities, Overhead, Positive, Prose, Rule
from faregate.core.pricing import COLUMNS, PriceVersion, per_token
from faregate.wire.request import EFFORTS, FIELDS, THINKING_TYPES

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,127}", re.ASCII)
NAME_RULE: Final = "lower-case letters, digits, '.', '_', ':', '/' and '-', at most 128 characters"

NESTED: Final[Mapping[str, tuple[str, ...]]] = {
    "thinking.type": THINKING_TYPES,
    "output_config.effort": EFFORTS,
    "output_config.format": (),
    "output_config.task_budget": (),
}
"""Parameters inside of parameters that a rule may name, with the values they can have."""
PARAMETERS: Final = (*FIELDS, *NESTED)

ALWAYS: Final = ("model", "messages", "max_tokens", "stream", "system")
"""Without these there is no call: a catalog may not take them away."""

BOUNDLESS: Final = (
    "compaction", "container", "mcp_servers", "thread", "fallbacks", "fallback_credit_token", "billing_policy",
)  # fmt: skip
"""They spend what no price version covers, or reach what is not in the body: no ceiling could be held for them, so they
are refused, or dropped where an operator says that they only advise."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)

_LIMITS: Final[Mapping[str, Any]] = {
    "display_name": str,
    "created_at": str,
    "lifecycle": Literal["active", "deprecated", "retired"],
    "context_window": Positive,
    "max_output": Positive,
    "image_tokens_max": Positive,
    "document_tokens_max": Positive,
    "overhead": Overhead,
    "capabilities": Capabilities,
}
_OPTIONAL: Final[Mapping[str, Any]] = {
    "line": str,
    "deprecated_at": str,
    "retires_at": str,
    "aliases": tuple[str, ...],
    "runs_to_completion": bool,
    "prose": Prose,
}
_TIMES: Final = ("created_at", "deprecated_at", "retires_at")


class Problem(msgspec.Struct, frozen=True):
    """One fault, and where it is."""

    source: str
    model: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.source, self.model, self.key, self.message) if part)


class Origins(dict[tuple[str, str], str]):
    """Which file said it: by model and key, and by (model, "") for all that has no file of its own."""

    def of(self, model: str, key: str) -> str:
        """The file of a key."""
        return self.get((model, key), self[model, ""])


class Report:
    """The faults found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, source: str, model: str, key: str, message: str) -> None:
        """Note one."""
        self.problems.append(Problem(source, model, key, message))


def read_limits(name: str, draft: dict[str, Any], file: str, report: Report) -> dict[str, Any]:
    """Everything of a model but its parameters and prices."""
    read: dict[str, Any] = {}
    known = {**_LIMITS, **_OPTIONAL, "parameters": dict, "prices": list}
    for key in draft.keys() - known.keys():
        report.add(file, name, key, f"not a key of a model{_suggest(key, known)}")
    for key, kind in {**_LIMITS, **_OPTIONAL}.items():
        if key in draft:
            try:
                read[key] = msgspec.convert(draft[key], kind)
            except msgspec.ValidationError as error:
                report.add(file, name, key, str(error))
        elif key in _LIMITS:
            report.add(file, name, key, "is missing")
    for key in _TIMES:
        if key in read and _moment(read[key]) is None:
            report.add(file, name, key, f"{read[key]!r} is not a time, as 2025-10-15T00:00:00Z")
    if read.get("max_output", 0) > read.get("context_window", 0) > 0:
        report.add(file, name, "max_output", f"{read['max_output']} is more than the context window")
    if read.get("lifecycle", "active") != "active" and "deprecated_at" not in read:
        report.add(file, name, "deprecated_at", f"is missing, and the model is {read['lifecycle']}")
    return read


def read_rules(name: str, shared: dict[str, Any], own: object, origins: Origins, report: Report) -> dict[str, Rule]:
    """What a model does with each parameter: the shared rule, with what its own table says in its place."""
    if type(own) is not dict:
        report.add(origins.of(name, ""), name, "parameters", "should be a table")
        own = {}
    for parameter in {**shared, **own}:
        if parameter not in PARAMETERS:
            key = f"parameters.{parameter}"
            message = f"not a parameter of the Messages API{_suggest(parameter, PARAMETERS)}"
            report.add(origins.of(name, key), name, key, message)
    rules = {}
    for parameter in PARAMETERS:
        key = f"parameters.{parameter}"
        file = origins.of(name, key)
        if parameter not in shared:
            report.add(file, name, key, "has no shared rule in [parameters]")
            continue
        if type(shared[parameter]) is not dict or type(own.get(parameter, {})) is not dict:
            report.add(file, name, key, "should be a table")
            continue
        try:
            # The words for the page and the limits stay unless the model's own rule has others.
            rule = msgspec.convert({**shared[parameter], **own.get(parameter, {})}, Rule)
        except msgspec.ValidationError as error:
            report.add(file, name, key, str(error))
            continue
        _check_rule(name, parameter, rule, file, report)
        rules[parameter] = rule
    return rules


def _check_rule(name: str, parameter: str, rule: Rule, file: str, report: Report) -> None:
    key = f"parameters.{parameter}"
    if parameter in ALWAYS and not rule.plain:
        report.add(file, name, key, "is needed for every call and cannot be restricted")
    if parameter in BOUNDLESS and rule.rule == "supported":
        report.add(file, name, key, "cannot be supported: what it costs has no bound here; say unsupported or advisory")
    if rule.minimum is not None and rule.maximum is not None and rule.minimum > rule.maximum:
        report.add(file, name, key, f"minimum {rule.minimum} is more than maximum {rule.maximum}")
    numeric = "number" in rule.type or "integer" in rule.type
    if (rule.minimum is not None or rule.maximum is not None) and not numeric:
        report.add(file, name, key, "has a minimum or maximum and is not a number")
    if rule.advisory_values and not rule.values:
        report.add(file, name, key, "has advisory_values but no values: say rule = 'advisory' to drop them all")
    for value in (*rule.values, *rule.advisory_values):
        possible = NESTED.get(parameter, ())
        if (type(value) is str) is numeric or (possible and value not in possible):
            report.add(file, name, key, f"{value!r} is not a value of {parameter}")


def read_prices(name: str, entries: object, file: str, report: Report) -> tuple[PriceVersion, ...]:
    """The price versions of a model in one file, which stand in the order of their dates."""
    if type(entries) is not list or not entries:
        report.add(file, name, "prices", "is missing: without a price nothing can be billed")
        return ()
    versions: list[PriceVersion] = []
    for index, entry in enumerate(entries):
        key = f"prices[{index}]"
        if type(entry) is not dict:
            report.add(file, name, key, "should be a table")
            continue
        faults = [f"{column} is missing" for column in ("from", *COLUMNS) if column not in entry]
        faults += [f"{column} is not a column of a price" for column in entry if column not in ("from", *COLUMNS)]
        faults += [f"{column} should be in quotes" for column in entry if type(entry[column]) is not str]
        if not faults:
            try:
                version = price_version(name, entry["from"], entry)
            except ValueError as error:
                faults.append(str(error))
            else:
                if versions and version.valid_from_ms <= versions[-1].valid_from_ms:
                    faults.append(
                        f"{version.id} does not begin after {versions[-1].id}: versions are appended in order"
                    )
                versions.append(version)
        for fault in faults:
            report.add(file, name, key, fault)
    return tuple(versions)


def price_version(model: str, valid_from: str, columns: Mapping[str, str]) -> PriceVersion:
    """A price version from what people write: a day or an RFC 3339 time, and five prices in USD per million tokens.

    Raises ValueError, with a sentence for the reader.
    """
    moment = _moment(valid_from)
    if moment is None:
        raise ValueError(f"from {valid_from!r} is not a day as 2025-10-15 or a time as 2025-10-15T08:00:00Z")
    prices = {}
    for column in COLUMNS:
        try:
            prices[column] = per_token(columns[column])
        except ValueError as error:
            raise ValueError(f"{column} {error}") from None
    for write in ("cache_write_5m", "cache_write_1h"):
        if prices[write] < prices["input"]:
            raise ValueError(
                f"{write} {columns[write]} is below input {columns['input']}: writing a cache costs no less"
            )
    if prices["cache_read"] > prices["input"]:
        raise ValueError(f"cache_read {columns['cache_read']} is above input {columns['input']}")
    day = moment.strftime("%Y-%m-%d" if moment.time() == _EPOCH.time() else "%Y-%m-%dT%H:%M:%SZ")
    since = (moment - _EPOCH) // timedelta(milliseconds=1)
    return PriceVersion(id=f"{model}@{day}", model=model, valid_from_ms=since, **prices)


def _moment(text: str) -> datetime | None:
    """A day (its first moment, UTC) or a time with its offset, to the second."""
    try:
        moment = datetime.fromisoformat(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError:
        return None
    if moment.tzinfo is None or moment.microsecond:
        return None
    return moment.astimezone(UTC)


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
