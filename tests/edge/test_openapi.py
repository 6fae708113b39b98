"""The document says what the server does, because it is made of the same table and structs.

Method: make it, and follow every reference in it.
"""

from collections.abc import Iterator
from typing import Any

from faregate.edge.openapi import ROOT, document
from faregate.edge.verbs import VERBS


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_verb_is_described_once_under_its_own_name() -> None:
    operations = [op for methods in document(VERBS)["paths"].values() for op in methods.values()]

    assert sorted(op["operationId"] for op in operations) == sorted(verb.name for verb in VERBS)
    assert all(op["summary"].endswith(".") for op in operations)


def test_every_reference_leads_somewhere() -> None:
    described = document(VERBS)

    found = set(references(described))
    assert len(found) > 15
    for reference in found:
        node: Any = described
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_a_form_is_a_body_or_a_query_and_refuses_unknown_fields() -> None:
    described = document(VERBS)

    body = described["paths"][f"{ROOT}/keys"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/NewKey"}
    assert described["components"]["schemas"]["NewKey"]["additionalProperties"] is False
    query = described["paths"][f"{ROOT}/usage"]["get"]["parameters"]
    assert {"wallet", "since", "before", "limit"} <= {parameter["name"] for parameter in query}


def test_a_path_that_names_something_declares_the_name() -> None:
    for path, methods in document(VERBS)["paths"].items():
        for operation in methods.values():
            named = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert named == (["name"] if "{name}" in path else [])


def test_what_a_query_may_leave_out_is_text_without_a_null() -> None:
    query = document(VERBS)["paths"][f"{ROOT}/usage"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in query}

    assert schemas["since"] == {"type": "string", "format": "date-time"}
    assert schemas["before"]["maxLength"] == 64 and "anyOf" not in schemas["before"]
    assert schemas["limit"]["type"] == "integer"
