"""`faregate usage`, `price` and `audit`: what was spent, at what price, and whether the books hold."""

from typing import Annotated, Any

import typer

from faregate.cli.options import Json, door_of, group
from faregate.cli.refusals import REFUSED
from faregate.cli.show import grouped, print_facts, print_json, print_table, when

Price = Annotated[str, typer.Option(metavar="USD", help="USD per million tokens.")]
Moment = Annotated[str | None, typer.Option(metavar="TIME", help="As 2026-11-22T00:00:00Z.")]


def price_group() -> typer.Typer:
    """Build the commands."""
    price: typer.Typer = group("Prices: versions are appended, never edited.")
    price.command("add")(price_add)
    price.command("list")(price_list)
    return price


def usage(
    context: typer.Context,
    *,
    wallet: Annotated[str | None, typer.Option(help="Only this wallet, by name or id.")] = None,
    key: Annotated[str | None, typer.Option(metavar="ID", help="Only this key.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    since: Moment = None,
    until: Moment = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Go on where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List calls and what they cost, newest first."""
    asked = {
        "wallet": wallet,
        "key": key,
        "model": model,
        "since": since,
        "until": until,
        "limit": limit,
        "before": before,
    }
    with door_of(context) as door:
        page = door.get("/usage", asked)
    if as_json:
        print_json(page)
        return
    print_table(
        ("at", "id", "model", "outcome", "in", "cached", "out", "credits", "cost", "upstream", "key"),
        map(_call, page["calls"]),
    )
    if page["next"] is not None:
        typer.echo(f"There are more: --before {page['next']}", err=True)


def price_add(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model, by its id or an alias.")],
    *,
    input_: Annotated[str, typer.Option("--input", metavar="USD", help="USD per million tokens.")],
    output: Price,
    cache_write_5m: Annotated[str, typer.Option("--cache-write-5m", metavar="USD", help="USD per million tokens.")],
    cache_write_1h: Annotated[str, typer.Option("--cache-write-1h", metavar="USD", help="USD per million tokens.")],
    cache_read: Annotated[str, typer.Option("--cache-read", metavar="USD", help="USD per million tokens.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From when it holds, as 2027-01-01T00:00:00Z; now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Append a price version, in force now or later."""
    form = {
        "model": model,
        "input": input_,
        "output": output,
        "cache_write_5m": cache_write_5m,
        "cache_write_1h": cache_write_1h,
        "cache_read": cache_read,
        "valid_from": from_,
    }
    with door_of(context, writes=True) as door:
        version = door.post("/prices", form)
    if as_json:
        print_json(version)
        return
    print_facts([("version", version["id"]), ("from", when(version["valid_from"])), *list(version.items())[3:]])


def price_list(context: typer.Context, as_json: Json = False) -> None:
    """List every price version, in USD per million tokens."""
    with door_of(context) as door:
        answer = door.get("/prices")
    if as_json:
        print_json(answer)
        return
    columns = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
    print_table(
        ("version", "from", *(column.replace("_", " ") for column in columns)),
        ((p["id"], when(p["valid_from"]), *(p[column] for column in columns)) for p in answer["prices"]),
    )


def audit(context: typer.Context, as_json: Json = False) -> None:
    """Prove the books; exit code 0 only when they are clean."""
    with door_of(context) as door:
        answer = door.get("/audit")
    if as_json:
        print_json(answer)
    else:
        rows = ((f["rule"], f["count"] or "ok", f["meaning"], f["examples"]) for f in answer["findings"])
        print_table(("rule", "broken", "meaning", "examples"), rows)
        typer.echo("The books are clean." if answer["clean"] else "The books are NOT clean.")
    if not answer["clean"]:
        raise typer.Exit(REFUSED)


def _call(call: dict[str, Any]) -> tuple[Any, ...]:
    used = call["usage"]
    cached = used["cache_read_input_tokens"]
    return (
        when(call["created_at"]),
        call["id"],
        call["model"],
        call["outcome"] or call["state"],
        used["input_tokens"] + used["cache_creation_input_tokens"] + cached,
        cached,
        used["output_tokens"],
        grouped(call["charged"]),
        "" if call["cost"] is None else grouped(call["cost"]),
        call["upstream"] or "",
        call["key_id"],
    )
