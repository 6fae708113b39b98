"""`faregate wallet`: open, look at, fill and correct wallets."""

import secrets
import shlex
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faregate.cli.options import Json, door_of, group, named
from faregate.cli.refusals import Failed, Unsure
from faregate.cli.show import grouped, print_facts, print_json, print_table, when

if TYPE_CHECKING:
    from faregate.cli.door import Door

Wallet = Annotated[str, typer.Argument(help="The wallet, by name or id.")]
Reference = Annotated[
    str | None, typer.Option(help="A name for this movement: the same again moves nothing, so a retry is safe.")
]


def wallet_group() -> typer.Typer:
    """Build the commands."""
    wallet: typer.Typer = group("Wallets: open, look at, fill and correct them.")
    for command, run in (
        ("create", create),
        ("list", list_),
        ("show", show),
        ("topup", topup),
        ("adjust", adjust),
        ("transfers", transfers),
    ):
        # So that `adjust demo -5` is an amount and no unknown option.
        wallet.command(command, context_settings={"ignore_unknown_options": command == "adjust"})(run)
    return wallet


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What to call it.")],
    *,
    credits_: Annotated[str | None, typer.Option("--credits", help="Put so many credits into it.")] = None,
    floor: Annotated[str | None, typer.Option(metavar="CREDITS", help="How far below 0 it may go, as -500.")] = None,
    as_json: Json = False,
) -> None:
    """Open a wallet."""
    with door_of(context, writes=True) as door:
        if credits_ is not None:
            # An amount that is no amount is refused before there is a wallet.
            _positive(credits_)
        wallet = door.post("/wallets", {"name": name, "floor": floor})
        if credits_ is not None:
            _move(door, "topup", wallet["id"], {"amount": credits_, "reference": f"open:{wallet['id']}"})
            wallet = door.get(f"/wallets/{wallet['id']}")
    _print(wallet, as_json=as_json)


def list_(context: typer.Context, as_json: Json = False) -> None:
    """List every wallet with its balance."""
    with door_of(context) as door:
        answer = door.get("/wallets")
    if as_json:
        print_json(answer)
        return
    print_table(
        ("name", "balance", "held", "available", "id"),
        (
            (w["name"], grouped(w["balance"]), grouped(w["held"]), grouped(w["available"]), w["id"])
            for w in answer["wallets"]
        ),
    )


def show(context: typer.Context, wallet: Wallet, as_json: Json = False) -> None:
    """Show one wallet."""
    with door_of(context) as door:
        _print(door.get(named("/wallets/{name}", wallet)), as_json=as_json)


def topup(
    context: typer.Context,
    wallet: Wallet,
    credits_: Annotated[str, typer.Argument(metavar="CREDITS", help="How many, above 0.")],
    *,
    note: Annotated[str | None, typer.Option(help="Why.")] = None,
    reference: Reference = None,
    as_json: Json = False,
) -> None:
    """Put credits into a wallet."""
    form = {"amount": credits_, "note": note, "reference": reference}
    with door_of(context, writes=True) as door:
        _print_move(_move(door, "topup", wallet, form), as_json=as_json)


def adjust(
    context: typer.Context,
    wallet: Wallet,
    credits_: Annotated[str, typer.Argument(metavar="CREDITS", help="How many; below 0 to take some away.")],
    *,
    note: Annotated[str, typer.Option(help="Why.")],
    reference: Reference = None,
    as_json: Json = False,
) -> None:
    """Correct a wallet, up or down, never below its floor."""
    form = {"amount": credits_, "note": note, "reference": reference}
    with door_of(context, writes=True) as door:
        _print_move(_move(door, "adjust", wallet, form), as_json=as_json)


def transfers(
    context: typer.Context,
    wallet: Wallet,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """List a wallet's transfers, newest first."""
    with door_of(context) as door:
        answer = door.get(named("/wallets/{name}/transfers", wallet), {"limit": limit})
    if as_json:
        print_json(answer)
        return
    print_table(
        ("at", "kind", "credits", "from", "to", "reference", "note"),
        (
            (when(t["at"]), t["kind"], grouped(t["amount"]), t["debit"], t["credit"], t["reference"], t["note"])
            for t in answer["transfers"]
        ),
    )


def _move(door: "Door", command: str, wallet: str, form: dict[str, Any]) -> Any:
    """Move money under a reference that is the command's own, so that whoever is left unsure can ask again."""
    reference = form["reference"] or _reference()
    path = {"topup": "/wallets/{name}/topups", "adjust": "/wallets/{name}/adjustments"}[command]
    try:
        return door.post(named(path, wallet), {**form, "reference": reference})
    except Unsure as error:
        note = ["--note", form["note"]] if form.get("note") else []
        again = ["faregate", "wallet", command, wallet, form["amount"], *note, "--reference", reference]
        raise Failed(f"{error} To ask again and move nothing twice: {shlex.join(again)}") from error


def _reference() -> str:
    from faregate.core.ids import CHANCE_BITS, ulid  # noqa: PLC0415

    return "cli_" + ulid(time.time_ns() // 1_000_000, secrets.randbits(CHANCE_BITS))


def _print(wallet: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(wallet)
        return
    amounts = [(name, grouped(wallet[name])) for name in ("balance", "held", "available", "floor")]
    print_facts([("name", wallet["name"]), ("id", wallet["id"]), *amounts, ("created", when(wallet["created_at"]))])


def _print_move(transfer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(transfer)
        return
    print_facts(
        [
            ("credits", grouped(transfer["amount"])),
            ("from", transfer["debit"]),
            ("to", transfer["credit"]),
            ("reference", transfer["reference"]),
        ]
    )


def _positive(amount: str) -> None:
    from faregate.core.money import parse_credits  # noqa: PLC0415

    try:
        good = parse_credits(amount) > 0
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--credits") from None
    if not good:
        raise typer.BadParameter("must be above 0", param_hint="--credits")
