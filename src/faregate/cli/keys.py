"""`faregate key`: issue, look at and revoke keys."""

from typing import Annotated, Any, Final

import typer

from faregate.cli.options import Json, door_of, expiry, group, named
from faregate.cli.show import grouped, print_facts, print_json, print_table, when

Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id: the 12 characters after sk-fare-.")]
Count = Annotated[int | None, typer.Option(min=1, help="At most so many a minute.")]

_CAPS: Final = ("quota", "spend_5h", "spend_1d", "spend_7d")
_RATES: Final = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute", "concurrency")


def key_group() -> typer.Typer:
    """Build the commands."""
    key: typer.Typer = group("Keys: issue, look at and revoke them.")
    for command, run in (("create", create), ("list", list_), ("show", show), ("revoke", revoke)):
        key.command(command)(run)
    return key


def create(
    context: typer.Context,
    *,
    wallet: Annotated[str, typer.Option(help="The wallet it spends, by name or id.")],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may use; repeat for more. None: all.")] = None,
    allow_ip: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="Where it may be used from.")] = None,
    deny_ip: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="Where it may not be used from.")] = None,
    quota: Annotated[str | None, typer.Option(metavar="CREDITS", help="What it may spend in its life.")] = None,
    spend_5h: Annotated[str | None, typer.Option("--spend-5h", metavar="CREDITS", help="In five hours.")] = None,
    spend_1d: Annotated[str | None, typer.Option("--spend-1d", metavar="CREDITS", help="In a day.")] = None,
    spend_7d: Annotated[str | None, typer.Option("--spend-7d", metavar="CREDITS", help="In a week.")] = None,
    requests_per_minute: Count = None,
    input_tokens_per_minute: Count = None,
    output_tokens_per_minute: Count = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Calls at one time.")] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="SPAN", help="As 90m, 12h, 30d.")] = None,
    as_json: Json = False,
) -> None:
    """Issue a key. It is printed once and never again."""
    form = {
        "wallet": wallet,
        "name": name,
        "models": model,
        "allow_ips": allow_ip,
        "deny_ips": deny_ip,
        "expires_at": expiry(expires_in),
        "quota": quota,
        "spend_5h": spend_5h,
        "spend_1d": spend_1d,
        "spend_7d": spend_7d,
        "requests_per_minute": requests_per_minute,
        "input_tokens_per_minute": input_tokens_per_minute,
        "output_tokens_per_minute": output_tokens_per_minute,
        "concurrency": concurrency,
    }
    with door_of(context, writes=True) as door:
        issued = door.post("/keys", form)
    if as_json:
        print_json(issued)
        return
    typer.echo(issued["key"])
    typer.echo("Keep it now: it is not shown again.", err=True)


def list_(
    context: typer.Context,
    wallet: Annotated[str | None, typer.Option(help="Only the keys of this wallet, by name or id.")] = None,
    as_json: Json = False,
) -> None:
    """List keys."""
    with door_of(context) as door:
        answer = door.get("/keys", {"wallet": wallet})
    if as_json:
        print_json(answer)
        return
    print_table(
        ("id", "name", "wallet", "state", "models", "created"),
        (
            (k["id"], k["name"], k["wallet_id"], _state(k), k["models"] or "all", when(k["created_at"]))
            for k in answer["keys"]
        ),
    )


def show(context: typer.Context, key: Id, as_json: Json = False) -> None:
    """Show one key with its limits."""
    with door_of(context) as door:
        _print(door.get(named("/keys/{name}", key)), as_json=as_json)


def revoke(context: typer.Context, key: Id, as_json: Json = False) -> None:
    """Revoke a key, from its next call on."""
    with door_of(context, writes=True) as door:
        _print(door.post(named("/keys/{name}/revoke", key)), as_json=as_json)


def _print(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    print_facts(
        [
            ("id", key["id"]),
            ("name", key["name"]),
            ("wallet", key["wallet_id"]),
            ("state", _state(key)),
            ("created", when(key["created_at"])),
            ("models", key["models"] or "all"),
            ("allowed from", key["allow_ips"]),
            ("denied from", key["deny_ips"]),
            *((name.replace("_", " "), key[name] and grouped(key[name])) for name in _CAPS),
            *((name.replace("_", " "), key[name]) for name in _RATES),
        ]
    )


def _state(key: dict[str, Any]) -> str:
    if key["revoked_at"] is not None:
        return f"revoked {when(key['revoked_at'])}"
    return "active" if key["expires_at"] is None else f"until {when(key['expires_at'])}"
