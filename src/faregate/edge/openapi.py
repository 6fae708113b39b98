"""The OpenAPI 3.1 document of the admin API, made from the table of verbs and their structs.

The rule: nothing is written here that the server does not read from the same place, so the document cannot drift.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from faregate import __version__
from faregate.edge.verbs import Verb

ROOT: Final = "/admin/v1"
_REF: Final = "#/components/schemas/{name}"

_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "request_id": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["type", "message", "details"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "properties": {"error_code": {"type": "string"}}},
            },
        },
    },
}


def document(verbs: Sequence[Verb]) -> dict[str, Any]:
    """Describe the API."""
    structs = [verb.view for verb in verbs] + [verb.form for verb in verbs if verb.form is not None]
    schemas, components = msgspec.json.schema_components(structs, ref_template=_REF)
    by_struct = dict(zip(structs, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for verb in verbs:
        operation = _operation(verb, by_struct, components)
        paths.setdefault(ROOT + verb.path, {})[verb.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Faregate admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ENVELOPE},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(verb: Verb, schemas: dict[Any, dict[str, Any]], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": verb.name,
        "summary": verb.summary,
        "responses": {
            str(verb.status): _content("What was asked for.", schemas[verb.view]),
            "default": _content("An error.", {"$ref": _REF.format(name="Error")}),
        },
    }
    if "{name}" in verb.path:
        operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    if verb.form is None:
        return operation
    if verb.method == "GET":
        operation.setdefault("parameters", []).extend(_query(components[verb.form.__name__]))
    else:
        operation["requestBody"] = {"required": True, **_content("", schemas[verb.form], described=False)}
    return operation


def _content(description: str, schema: dict[str, Any], *, described: bool = True) -> dict[str, Any]:
    body = {"content": {"application/json": {"schema": schema}}}
    return {"description": description, **body} if described else body


def _query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _given(declared)}
        for name, declared in schema["properties"].items()
    ]


def _given(schema: dict[str, Any]) -> dict[str, Any]:
    """A field of a query as it is when it is there: text has no null, what is not asked for is left out."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}
