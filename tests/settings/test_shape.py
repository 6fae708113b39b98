"""Every setting is declared with its sentence and its default, and a secret shows itself to nobody.

Method: walk the declared shape.
"""

from collections.abc import Iterator

import msgspec
import rich.pretty
from msgspec.inspect import Metadata, StructType, Type, VarTupleType

from faregate.settings.shape import UNLIMITED, File, Limits, Secret


def settings(here: Type, path: str = "") -> Iterator[tuple[str, Type]]:
    if isinstance(here, Metadata):
        here = here.type
    if isinstance(here, VarTupleType):
        here = here.item_type
    if isinstance(here, StructType):
        for field in here.fields:
            inner = field.type.type if isinstance(field.type, Metadata) else field.type
            if isinstance(inner, StructType) or (
                isinstance(inner, VarTupleType) and isinstance(inner.item_type, StructType)
            ):
                yield from settings(inner, f"{path}{field.name}.")
            else:
                yield f"{path}{field.name}", field.type


def test_every_setting_has_its_sentence() -> None:
    found = dict(settings(msgspec.inspect.type_info(File)))

    assert len(found) > 25
    silent = [
        name
        for name, declared in found.items()
        if not isinstance(declared, Metadata) or not (declared.extra_json_schema or {}).get("description")
    ]
    assert silent == []


def test_an_empty_file_is_a_whole_one() -> None:
    assert msgspec.convert({}, type=File).server.port == 8080


def test_a_secret_shows_itself_only_when_it_is_asked_to() -> None:
    secret = Secret("sk-ant-1")

    assert secret.reveal() == "sk-ant-1"
    assert "sk-ant" not in f"{secret!r} {secret} {[secret]} {rich.pretty.pretty_repr(secret)}"


def test_the_abandon_budget_is_an_amount_of_credits_or_none_at_all() -> None:
    assert Limits().abandon_nanos == 1_000_000_000
    assert Limits(abandon_budget="0").abandon_nanos == 0
    assert Limits(abandon_budget=UNLIMITED).abandon_nanos is None
