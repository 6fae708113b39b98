"""The independent checker: are the books right, by themselves and against what upstream served and callers saw?

One rule: its arithmetic is its own. It imports nothing of the gateway and believes no balance that is kept.

    check(books, calls, notes, quiet=True) -> broken invariants, a sentence with ids for each; empty when all is well

    books   every row, by books.py                  calls   what upstream served, one for each request that reached it
    notes   what each caller saw of its one call    marker  a word in the prompt that names the call on both sides

A note finds its charge by the message id that its caller saw, else by the digest of the body that it sent.
"""

import collections
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from tests.faults.books import COLUMNS, Books, Charge, Key, Usage, read_postgres, read_sqlite
from tests.faults.replay import floors

__all__ = ["Books", "Note", "UpstreamCall", "check", "read_postgres", "read_sqlite"]

FREE = ("client_gone", "upstream_error", "gateway_error", "gateway_crash", "shutdown")
"""Why a call may cost nothing although upstream was asked."""


class UpstreamCall(NamedTuple):
    """One request as upstream served it."""

    marker: str
    status: int
    """Of its answer; 0 when it gave none."""
    finished: bool
    """Whether the answer was written to its last byte, message_stop or the whole plain body."""
    usage: Usage | None = None
    """What it reported, in disjoint columns; None when that is nonsense, or nothing."""


class Note(NamedTuple):
    """One call as its caller saw it."""

    marker: str
    saw: Literal["end", "error", "cut"]
    """message_stop or a whole plain answer; a status that is not 2xx or `event: error`; neither of both."""
    left: bool = False
    """Whether the caller hung up by itself."""
    message_id: str | None = None
    body_sha256: bytes | None = None
    """Of the body as the gateway writes it again: compact JSON, the model's own id."""
    usage: Usage | None = None
    """As the caller read it at the end."""
    charged: int | None = None
    """Nanodollars, by the answer's own header, where it had one."""


def check(
    books: Books, calls: Iterable[UpstreamCall] = (), notes: Iterable[Note] | None = None, *, quiet: bool = True
) -> list[str]:
    """Every invariant that is broken. `quiet` says that no call is under way. Without notes the books stand alone."""
    broken = [*_sums(books), *_balances(books), *floors(books), *_charges(books), *_ledger(books)]
    if quiet:
        broken += _at_rest(books)
    if notes is not None:
        broken += _matches(books, list(calls), list(notes))
    return broken


# The books by themselves ----------------------------------------------------------------------------------------------


def _sums(books: Books) -> Iterator[str]:
    """Money moves between accounts that exist, and none is made."""
    known = {(account.wallet_id, account.id) for account in books.accounts}
    operator = {account.id for account in books.accounts if account.floor is None}
    total = sum(account.posted for account in books.accounts if account.floor is not None)
    for transfer in books.transfers:
        for side, sign in ((transfer.debit_id, -1), (transfer.credit_id, 1)):
            if side in operator:
                total += sign * transfer.amount
            elif (transfer.wallet_id, side) not in known:
                yield f"transfer {transfer.id} moves money of an account that does not exist: {side}"
        if transfer.amount <= 0:
            yield f"transfer {transfer.id} moves {transfer.amount}"
    if total:
        yield f"all balances together are {total} and not 0"


def _balances(books: Books) -> Iterator[str]:
    """What an account keeps is what its rows say."""
    posted, held = collections.Counter[Key](), collections.Counter[Key]()
    for transfer in books.transfers:
        posted[transfer.wallet_id, transfer.credit_id] += transfer.amount
        posted[transfer.wallet_id, transfer.debit_id] -= transfer.amount
    for hold in books.holds:
        if hold.closed is None:
            held[hold.wallet_id, hold.account_id] += hold.amount
    for account in books.accounts:
        key = account.wallet_id, account.id
        if account.floor is not None and account.posted != posted[key]:
            yield f"account {account.id} keeps {account.posted} posted, its transfers are {posted[key]}"
        if account.held != held[key]:
            yield f"account {account.id} keeps {account.held} held, its open holds are {held[key]}"


def _charges(books: Books) -> Iterator[str]:
    """Each charge by itself: what it costs, what bounds it, and that no error costs anything."""
    prices = {price.id: price for price in books.prices}
    held = collections.Counter[Key]()
    for hold in books.holds:
        if hold.account_id == hold.wallet_id:
            held[hold.wallet_id, hold.charge_id] += hold.amount
    for charge in books.charges:
        price = prices.get(charge.price_id)
        if price is None:
            yield f"charge {charge.id} has a price that does not exist: {charge.price_id}"
            continue
        cost = sum(tokens * int(getattr(price, name)) for name, tokens in charge.usage.items())
        if charge.state == "settled" and charge.charged + charge.shortfall != cost:
            yield f"charge {charge.id} cost {charge.charged} + {charge.shortfall}, its usage comes to {cost}"
        if not charge.charged <= held[charge.wallet_id, charge.id] == charge.held:
            amount = held[charge.wallet_id, charge.id]
            yield f"charge {charge.id} was charged {charge.charged}, says {charge.held} and held {amount}"
        billed = charge.charged + charge.shortfall
        if billed and (charge.state != "settled" or charge.outcome not in ("ok", "client_gone")):
            yield f"charge {charge.id} was billed {billed} for an error: {charge.state}, {charge.outcome}"
        if charge.shortfall and charge.charged != charge.held:
            yield f"charge {charge.id} has a shortfall of {charge.shortfall} although {charge.held} were held"


def _ledger(books: Books) -> Iterator[str]:
    """What charges say and what transfers moved are one thing, for the wallet, the operator and the key's limits."""
    moved = collections.Counter[tuple[str, str, str]]()
    for transfer in books.transfers:
        if transfer.kind in ("settle", "shortfall"):
            moved[transfer.wallet_id, transfer.charge_id or "", transfer.kind] += transfer.amount
        if transfer.kind == "limit":
            moved[transfer.wallet_id, transfer.charge_id or "", transfer.debit_id] += transfer.amount
    for charge in books.charges:
        for kind, amount in (("settle", charge.charged), ("shortfall", charge.shortfall)):
            found = moved.pop((charge.wallet_id, charge.id, kind), 0)
            if found != amount:
                yield f"charge {charge.id} says {kind} {amount}, its transfers moved {found}"
    charged = {(charge.wallet_id, charge.id): charge.charged for charge in books.charges}
    for hold in books.holds:
        if hold.account_id != hold.wallet_id:
            found = moved.pop((hold.wallet_id, hold.charge_id, hold.account_id), 0)
            if found != charged.get((hold.wallet_id, hold.charge_id)):
                yield f"charge {hold.charge_id} counted {found} against limit {hold.account_id}, and not what it cost"
    for (_, charge_id, kind), amount in moved.items():
        yield f"transfers of {charge_id} moved {amount} ({kind}), and there is no such charge or hold"


def _at_rest(books: Books) -> Iterator[str]:
    for charge in books.charges:
        if charge.state not in ("settled", "released"):
            yield f"charge {charge.id} is still {charge.state}"
    for hold in books.holds:
        if hold.closed is None:
            yield f"hold of {hold.charge_id} on {hold.account_id} is still open: {hold.amount}"


# The books against both sides -----------------------------------------------------------------------------------------


def _matches(books: Books, calls: list[UpstreamCall], notes: list[Note]) -> Iterator[str]:
    by_id = {charge.id: charge for charge in books.charges}
    by_body = collections.defaultdict[bytes, list[Charge]](list)
    for charge in books.charges:
        by_body[charge.body_sha256].append(charge)
    served = collections.defaultdict[str, list[UpstreamCall]](list)
    for call in calls:
        served[call.marker].append(call)
    owned: dict[str, str] = {}
    for note in notes:
        found = by_body[note.body_sha256] if note.body_sha256 is not None else []
        if note.message_id is not None:
            found = [*found, *(by_id[id_] for id_ in [note.message_id] if id_ in by_id and by_id[id_] not in found)]
        for charge in found:
            if owned.setdefault(charge.id, note.marker) != note.marker:
                yield f"charge {charge.id} is of two calls: {owned[charge.id]} and {note.marker}"
        yield from _of_note(note, found)
        yield from _of_leaving(note, found)
        yield from _of_upstream(note, found, served.pop(note.marker, []))
    for marker in served:
        yield f"upstream was asked for {marker}, which no caller sent"
    for charge in books.charges:
        if charge.id not in owned:
            yield f"charge {charge.id} ({charge.state}, {charge.charged}) is of no call that a caller made"


def _of_note(note: Note, found: list[Charge]) -> Iterator[str]:
    """What the caller saw, and what it paid."""
    paid = [charge for charge in found if charge.state == "settled"]
    ids = ", ".join(f"{charge.id} ({charge.state}, {charge.outcome}, {charge.charged})" for charge in found) or "none"
    if len(paid) > 1:
        yield f"double: {note.marker} was settled {len(paid)} times: {ids}"
    match note.saw:
        case "end":
            if len(paid) != 1 or paid[0].id != note.message_id or paid[0].outcome != "ok":
                yield f"lost: {note.marker} saw the end of {note.message_id}, and its charges are: {ids}"
            elif note.usage is not None and note.usage != paid[0].usage:
                yield f"wrong: {note.marker} read usage {note.usage}, and {paid[0].id} was billed for {paid[0].usage}"
            elif note.charged is not None and note.charged != paid[0].charged:
                yield f"wrong: {note.marker} was told {note.charged}, and {paid[0].id} cost {paid[0].charged}"
        case "error":
            for charge in found:
                if charge.charged or charge.shortfall:
                    yield f"wrong: {note.marker} saw an error, and {charge.id} was billed {charge.charged}"
        case "cut":
            if note.message_id is not None and not found:
                yield f"lost: {note.marker} saw the start of {note.message_id}, and there is no such charge"


def _of_leaving(note: Note, found: list[Charge]) -> Iterator[str]:
    """Whoever hung up is said to have, and pays once it had seen something."""
    for charge in found:
        if charge.outcome == "client_gone" and not note.left:
            yield f"wrong: {charge.id} says that the caller of {note.marker} hung up, and it did not"
        if charge.outcome == "client_gone" and charge.state == "released" and note.message_id is not None:
            yield f"wrong: {note.marker} saw events of {charge.id} and hung up, and was not billed"


def _of_upstream(note: Note, found: list[Charge], served: list[UpstreamCall]) -> Iterator[str]:
    """What upstream served, and under what name it was billed, or not."""
    if served and not found:
        yield f"unheld: upstream was asked for {note.marker}, and no money was held"
    answered = [call for call in served if call.status == 200]
    finished = [call for call in answered if call.finished]
    for charge in found:
        if charge.state == "settled":
            if not answered or (charge.outcome == "ok" and not finished):
                yield f"wrong: {charge.id} ({charge.outcome}) was settled, and upstream never gave {note.marker} that"
            reported = [call.usage for call in (finished if charge.outcome == "ok" else answered)]
            if None not in reported and not any(_agree(charge, usage) for usage in reported):
                yield f"wrong: {charge.id} was billed for {charge.usage}, and upstream reported {reported}"
        elif charge.state == "released" and charge.outcome not in FREE:
            yield f"wrong: {charge.id} was released as {charge.outcome}, which is no reason for a free call"


def _agree(charge: Charge, usage: Usage | None) -> bool:
    """A finished call is billed for what upstream reported; of a cut one, only the output is counted by us."""
    names = COLUMNS if charge.outcome == "ok" else [name for name in COLUMNS if name != "output"]
    return usage is not None and all(charge.usage[name] == usage.get(name, 0) for name in names)
