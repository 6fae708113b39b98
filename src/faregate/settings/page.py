"""The settings' reference page, made from their declarations: `python -m faregate.settings.page > docs/settings.md`.

The rule: the page is never edited. A test compares it with what is generated, so a setting without its line fails.
"""

import sys
from typing import Any, Final

import msgspec
from msgspec.inspect import DictType, Field, LiteralType, Metadata, StructType, Type, VarTupleType

from faregate.settings.layers import SECTIONS
from faregate.settings.places import bare
from faregate.settings.shape import File

_HEAD: Final = """\
# Settings

Made from the declarations in `src/faregate/settings/shape.py` by `make docs`; do not edit this page.

Settings come from three places, each laid over the one before: `faregate.toml`, the environment, and the flags of
`faregate serve`. The file is the one given by `--config` or `FAREGATE_CONFIG`, else `faregate.toml` in the current
folder, else `faregate.toml` in the data folder. Paths in it are relative to the file, except the database's.

A key of a section that is one table can also be set from the environment as `FAREGATE_<SECTION>_<KEY>`, for example
`FAREGATE_SERVER_PORT=9000`; a list is divided by commas. Secrets are never in the file: a setting names the
environment variable that holds one. Whatever is wrong is refused at start with its place, and nothing is changed.

| variable | what |
|---|---|
| `FAREGATE_HOME` | The data folder; `~/.faregate` when it is not set. |
| `FAREGATE_CONFIG` | The settings file. |
| `FAREGATE_ADMIN_TOKEN` | The admin token, unless `admin.token_env` names another variable. Unset: no admin listener. |
| `ANTHROPIC_API_KEY` | With no upstream configured: send calls to Anthropic with this key. Unset as well: run the \
small offline model. |
"""

_TABLE: Final = "| key | type | default | what |\n|---|---|---|---|\n"


def page() -> str:
    """Write the page."""
    parts = [_HEAD]
    for field in _fields(msgspec.inspect.type_info(File)):
        parts += _section(field.name, bare(field.type))
    return "\n".join(parts)


def _section(name: str, declared: Type) -> list[str]:
    many = isinstance(declared, VarTupleType)
    shape = bare(declared.item_type) if isinstance(declared, VarTupleType) else declared
    assert isinstance(shape, StructType)
    brackets = f"[[{name}]]" if many else f"[{name}]"
    rows, below = "", []
    for field in _fields(shape):
        if isinstance(inner := bare(field.type), StructType):
            below += _section(f"{name}.{field.name}", inner)
        else:
            rows += _row(name, field)
    return [f"## `{brackets}`\n\n{(shape.cls.__doc__ or '').strip()}\n\n{_TABLE}{rows}", *below]


def _row(section: str, field: Field) -> str:
    text = (field.type.extra_json_schema or {}) if isinstance(field.type, Metadata) else {}
    sentence = text["description"]
    if section in SECTIONS:
        sentence += f" Environment: `FAREGATE_{section.upper()}_{field.name.upper()}`."
    default = "required" if field.required else _default(field.default)
    return f"| `{field.name}` | {_type(field.type)} | {default} | {sentence} |\n"


def _type(declared: Type) -> str:
    here = bare(declared)
    if isinstance(here, LiteralType):
        return " \\| ".join(f"`{value}`" for value in here.values)
    if isinstance(here, VarTupleType):
        return f"list of {_type(here.item_type)}"
    if isinstance(here, DictType):
        return f"table of {_type(here.value_type)}"
    name = {"IntType": "integer", "FloatType": "number", "StrType": "string"}[type(here).__name__]
    low = getattr(here, "ge", None)
    low = getattr(here, "gt", None) if low is None else low
    high = getattr(here, "le", None)
    return name if low is None or high is None else f"{name}, {low:.12g} to {high:.12g}"


def _default(value: Any) -> str:
    if value in (None, (), msgspec.NODEFAULT):
        return "none"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _fields(shape: Type) -> tuple[Field, ...]:
    assert isinstance(shape, StructType)
    return shape.fields


if __name__ == "__main__":
    sys.stdout.write(page())
