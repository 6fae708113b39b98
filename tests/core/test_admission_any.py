"""Admission of anything at all: a request is admitted or cleanly refused, and a refusal names the place.

Method: any JSON value anywhere, then each single change of one valid request that has nearly everything.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.admission import Admitted, admit
from faregate.core.errors import GatewayError, InvalidRequest
from tests.core.catalogs import HAIKU, model
from tests.wire.bodies import at, changed, rich, without

OLD, NEW = "2023-06-01", "2026-10-21"


def admitted(document: Any, version: str = OLD, **how: bool) -> Admitted:
    return admit(document, model(HAIKU), version, **how)


def refused(document: Any) -> str:
    with pytest.raises(InvalidRequest) as error:
        admitted(document)
    return error.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def paths(value: Any, path: str = "") -> list[str]:
    """Every path of a document, but inside of what is the caller's own affair."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, below in inner:
        here = f"{path}.{name}" if path else str(name)
        found.append(here)
        if name not in ("input", "input_schema", "schema"):
            found += paths(below, here)
    return found


PATHS = paths(rich())


@given(st.sampled_from(PATHS), json_values, st.sampled_from([OLD, NEW]), st.booleans())
def test_any_value_anywhere_is_admitted_or_refused_cleanly(path: str, value: Any, version: str, beta: bool) -> None:  # noqa: FBT001
    document = changed(rich(), path, value)
    try:
        result = admitted(document, version=version, beta=beta)
    except GatewayError as error:
        assert error.status in (400, 422)
        assert error.message
        return
    assert result.document == document or result.dropped


@given(st.dictionaries(st.text(max_size=12), json_values, max_size=5))
def test_any_object_is_admitted_or_refused_cleanly(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        admitted(document)


@pytest.mark.parametrize("path", [path for path in PATHS if not path.endswith(("ttl", "input.a"))])
def test_one_wrong_value_is_named_by_its_path(path: str) -> None:
    # No field of the wire is an array of such objects, and none that is an array is an object.
    wrong: Any = {"wrong": True} if isinstance(at(rich(), path), list) else [{"wrong": [True]}]
    message = refused(changed(rich(), path, wrong))
    named = message.partition(": ")[0]

    assert named == path or named.startswith(f"{path}."), message


@pytest.mark.parametrize(
    "path",
    [
        "model",
        "messages",
        "max_tokens",
        "messages.0.role",
        "messages.0.content",
        "messages.0.content.0.type",
        "messages.0.content.0.text",
        "messages.0.content.1.source",
        "messages.0.content.1.source.data",
        "messages.2.content.2.id",
        "messages.2.content.2.input",
        "messages.3.content.0.tool_use_id",
        "tools.0.name",
        "tools.0.input_schema",
        "tool_choice.name",
        "output_config.format.schema",
        "messages.2.content.0.signature",
    ],
)
def test_one_missing_field_is_named_by_its_path(path: str) -> None:
    assert refused(without(rich(), path)).startswith(f"{path}: ")


@given(st.sampled_from(["thinking", "speed", "context_management", "safeguards", "tags"]))
def test_what_is_admitted_is_the_document_without_what_was_dropped(advice: str) -> None:
    value: Any = {"type": "adaptive"} if advice == "thinking" else "fast" if advice == "speed" else {}
    document = {advice: value, **without(rich(), "thinking")}
    result = admitted(document)

    assert result.dropped == (advice,)
    assert msgspec.json.encode(result.document) == msgspec.json.encode(
        {name: kept for name, kept in document.items() if name != advice}
    )
