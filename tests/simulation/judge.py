"""The judge of a world: its books against what callers noted, what upstream logged and what the operator was told.

The rule: its arithmetic is its own, and so is its SQL. The books by themselves, and each charge against both sides, are
the checker's (tests/faults); here stands what only a simulation can know, since nothing in it is hidden or late.

    judge(file, notes, log, town) -> what is broken, a sentence each
    digest(file)                  -> one hash over every row of the ledger
"""

import hashlib
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from faregate.store import audit
from tests.simulation import views
from tests.simulation.caller import Note
from tests.simulation.town import CREDITS, Town
from tests.simulation.upstream import Attempt
from tests.simulation.views import MESSAGE_ID, Charge

LEAVE_S: Final = 1.0
"""An upstream is told within this that its caller has left."""

OUR_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_BLANK: Final = re.compile(rb"\r\n\r\n|\n\n")


def judge(file: Path, notes: list[Note], log: list[Attempt], town: Town, *, quiet: bool, spool: Path) -> list[str]:
    """Everything that is wrong. `quiet` says that no call is under way and none was left open by a crash."""
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in log:
        attempts[attempt.request].append(attempt)
    with closing(sqlite3.connect(file)) as connection:
        charges = views.charges(connection)
        broken = [f"audit: {found.rule}: {found.examples}" for found in _audit(connection) if found.count]
        broken += _prices(connection, charges, town)
        broken += _movements(connection, town)
        broken += _losses(connection, charges)
        if quiet:
            broken += _read_on(connection, charges, attempts)
    spooled = views.spooled(spool)
    by_request: dict[int, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_request[charge.request].append(charge)
    for note in notes:
        number = note.call.number
        if len(by_request[number]) > 1:
            broken.append(f"request {number} has {len(by_request[number])} charges")
        own = by_request[number][0] if by_request[number] else None
        if own is not None and own.id in spooled:
            continue  # Its settle is on the disk, and will be in the books.
        broken += [f"request {number}: {what}" for what in _of_note(note, own, attempts[number], town)]
    return (
        broken
        + _keys(charges, town)
        + _once(charges, notes)
        + views.checked(file, notes, log, by_request, quiet=quiet, spooled=spooled)
    )


def digest(file: Path) -> str:
    """A hash over the database, table by table and row by row."""
    hashed = hashlib.sha256()
    with closing(sqlite3.connect(file)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for (table,) in tables:
            order = ", ".join(_primary_key(connection, table))
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                hashed.update(repr(row).encode())
    return hashed.hexdigest()


def _primary_key(connection: sqlite3.Connection, table: str) -> list[str]:
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]]


def _audit(connection: sqlite3.Connection) -> list[Any]:
    return [audit._finding(connection, rule) for rule in audit.RULES]


# What the operator knows ----------------------------------------------------------------------------------------------


def _prices(connection: sqlite3.Connection, charges: list[Charge], town: Town) -> list[str]:
    """A call is billed at the version that was in force when it was held."""
    versions = defaultdict(list)
    for id_, model, valid_from in connection.execute("SELECT id, model, valid_from FROM price ORDER BY valid_from"):
        versions[model].append((valid_from, id_))
    broken = []
    for charge in charges:
        in_force = [
            id_
            for valid_from, id_ in versions[charge.model]
            # A clock that was set back makes a later version begin before calls that were made without it.
            if valid_from <= charge.created_at and town.priced.get(id_, 0.0) <= town.minted[charge.id]
        ]
        if in_force[-1:] != [charge.price_id]:
            broken.append(f"{charge.id} was billed at {charge.price_id}, and {in_force[-1:]} was in force")
    return broken


def _movements(connection: sqlite3.Connection, town: Town) -> list[str]:
    """What was answered has happened once, and nothing has happened that was not asked for."""
    found = {}
    for idem, wallet, amount, credit in connection.execute(
        "SELECT idem, wallet_id, amount, credit_id FROM transfer WHERE kind IN ('topup', 'adjust')"
    ):
        found[idem.removeprefix("ref:")] = (wallet, amount if credit == wallet else -amount)
    broken = [f"{name} was answered and is lost" for name, what in town.moved.items() if found.get(name) != what]
    return broken + [
        f"{name} was not asked for so: {what}" for name, what in found.items() if town.asked.get(name) != what
    ]


def _losses(connection: sqlite3.Connection, charges: list[Charge]) -> list[str]:
    """What a crash has cost is booked as that, to the guess that was made at the start."""
    booked = dict(connection.execute("SELECT charge_id, amount FROM transfer WHERE debit_id = 'crash_loss'").fetchall())
    crashed = {
        charge.id: charge.estimated for charge in charges if charge.outcome == "gateway_crash" and charge.estimated
    }
    return [] if booked == crashed else [f"crash_loss has {set(booked.items()) ^ set(crashed.items())}"]


def _read_on(connection: sqlite3.Connection, charges: list[Charge], attempts: dict[int, list[Attempt]]) -> list[str]:
    """What upstream went on to bill after its caller had left is paid or lost, to the last token."""
    lost = dict(connection.execute("SELECT charge_id, amount FROM transfer WHERE kind = 'loss'").fetchall())
    prices = {row[0]: row[1:] for row in connection.execute(f"SELECT id, {', '.join(views.COLUMNS)} FROM price")}
    broken = []
    for charge in charges:
        made = attempts[charge.request]
        if charge.outcome != "client_gone" or len(made) != 1 or not made[0].runs_on or not made[0].whole:
            continue
        usage = views.reported(made[0], only_hours=b'"1h"' in made[0].body)
        if usage is None or made[0].frozen:
            continue
        cost = sum(usage[name] * price for name, price in zip(views.COLUMNS, prices[charge.price_id], strict=True))
        booked = charge.charged + charge.shortfall + lost.get(charge.id, 0)
        # Where the caller had been billed for more words than upstream then counted, nothing is lost.
        if booked != cost and not (booked > cost and charge.id not in lost):
            broken.append(f"{charge.id} cost {cost} in the end, and {booked} of it is booked")
    return broken


def _keys(charges: list[Charge], town: Town) -> list[str]:
    """Every key within its life, its scope and its quota."""
    broken: list[str] = []
    spent: dict[str, int] = defaultdict(int)
    keys = {key.id: key for key in town.keys}
    for charge in charges:
        key = keys[charge.key_id]
        spent[key.id] += charge.charged
        if key.expires_at_ms is not None and charge.created_at >= key.expires_at_ms:
            broken.append(f"{charge.id} was held after its key had expired")
        if key.models and charge.model not in key.models:
            broken.append(f"{charge.id} is for {charge.model}, which its key may not use")
    for key_id, amount in spent.items():
        quota = keys[key_id].quota
        if quota is not None and amount > quota:
            broken.append(f"key {key_id} has spent {amount} of {quota}")
    return broken


def _once(charges: list[Charge], notes: list[Note]) -> list[str]:
    """The same idempotency key is billed at most once in its wallet."""
    billed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for charge in charges:
        key = notes[charge.request].call.headers.get(b"idempotency-key")
        if key is not None and charge.state == "settled":
            billed[charge.wallet_id, key].append(charge.id)
    return [f"double: {key} was settled as {ids}" for key, ids in billed.items() if len(ids) > 1]


# What callers and upstream know ---------------------------------------------------------------------------------------


def _of_note(note: Note, charge: Charge | None, attempts: list[Attempt], town: Town) -> Iterator[str]:
    call = note.call
    stayed = not note.cut and note.left_at is None
    if stayed and (note.over_at is None or (note.error is None) is not note.ended):
        yield f"its caller stayed and was told nothing: {note.status}"
    if not note.cut and note.served != 1:
        yield f"the observer was told {note.served} times that it is over"
    if note.ended and (charge is None or (charge.state, charge.outcome) != ("settled", "ok")):
        yield f"its caller saw the end, and it is {charge}"
    if charge is not None and charge.state == "settled" and stayed and not note.ended:
        yield f"its caller stayed, paid {charge.charged} and did not see the end"
    revoked = town.revoked.get(call.key_id)
    if (
        revoked is not None
        and note.sent_at > revoked
        and (charge is not None or (stayed and note.error is not None and note.error.status not in (401, 408, 503)))
    ):
        yield f"its key was revoked before it came, and it got {note.status} and {charge}"
    if note.headers and charge is not None:
        yield from _of_headers(note, charge)
    stopped = note.error is not None and note.error.code == "shutting_down"
    if stayed and attempts and attempts[-1].whole and not attempts[-1].play.bad and not note.ended and not stopped:
        yield f"upstream gave a whole good answer, and its caller got {note.status} {note.error!r}"
    if charge is not None and charge.outcome == "ok" and not (attempts and attempts[-1].whole):
        yield f"{charge.id} is billed as whole, and upstream never gave a whole answer"
    if note.left_at is not None:
        for attempt in attempts:
            if not (attempt.frozen or attempt.runs_on) and (
                attempt.over_at is None or attempt.over_at > max(note.left_at, attempt.at) + LEAVE_S
            ):
                yield f"its caller left at {note.left_at}, and upstream went on until {attempt.over_at}"
    if call.stream and note.status == 200 and attempts:
        yield from _of_bytes(note, charge, attempts[-1])


def _of_headers(note: Note, charge: Charge) -> Iterator[str]:
    told = {b"x-credits-max": charge.held, b"x-credits-charged": charge.charged}
    for name, amount in told.items():
        if name in note.headers and _nanos(note.headers[name]) != amount:
            yield f"{charge.id}: {name.decode()} said {note.headers[name].decode()}, and it is {amount}"


def _nanos(text: bytes) -> int:
    whole, _, rest = text.decode().partition(".")
    return int(whole) * CREDITS + int(rest.ljust(3, "0") or 0)


def _of_bytes(note: Note, charge: Charge | None, attempt: Attempt) -> Iterator[str]:
    """Upstream's bytes as they came, but for the first event; none after the end, none made up."""
    received = note.body.replace(OUR_PING, b"")
    if not received:
        return
    first, _, got = received.partition(b"\n\n")
    found = MESSAGE_ID.search(first)
    if found is None or charge is None or found[1].decode() != charge.id:
        yield f"its message is {found and found[1]!r}, and its charge {charge}"
    pieces = [data for _, data in attempt.play.pieces]
    sent = b"".join([*pieces, pieces[-1] * 2_000] if attempt.play.endless else pieces)
    blank = _BLANK.search(sent)
    rest = sent[blank.end() :] if blank is not None else b""
    if not rest.startswith(got):
        yield f"it received what upstream did not send: {got[-80:]!r}"
    if b"event: message_stop" in got and not note.ended and not attempt.play.bad:
        yield "it saw message_stop before it was billed"
    if note.ended and attempt.play.whole_by is not None and len(sent) - len(rest) + len(got) != attempt.play.whole_by:
        yield f"it received {len(got)} bytes of a whole answer that ends elsewhere"
