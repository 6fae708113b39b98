"""The queue of batches' requests: each is claimed by one process, and ends once, with its charge.

Every command here is one transaction in which its wallet is ours (SQLite has one writer, on PostgreSQL the wallet's row
is locked), so what is read is still so when it is written. A claim is a compare-and-set; an end looks first whether the
claim still stands, and writes charge, result and counts together: a process that dies leaves all of it or nothing.

    claim ──> end           succeeded: settled      errored: released
      └─────> put_back      to be run again: an upstream that could not, a gateway that stops, a process that died
    close_some              canceled or expired: what had not begun
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from faregate.core.batch import RequestState
from faregate.core.batch_commands import Again, End, Ticket
from faregate.core.ledger import Loss, Outcome, Release, Settle
from faregate.core.money import Nanos
from faregate.store import settle
from faregate.store.batch_making import Owner
from faregate.store.database import Connection

TICKET_COLUMNS: Final = """
r.number, r.charge_id, b.key_id, c.request_id, b.version, b.beta, c.price_id, r.params, c.held, c.estimated, r.tries,
  r.crashes, r.wasted
"""
_NEXT: Final = f"""
SELECT {TICKET_COLUMNS}
FROM batch b JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id AND r.state = 'waiting'
JOIN charge c ON c.wallet_id = r.wallet_id AND c.id = r.charge_id
WHERE b.wallet_id = ? AND b.id = ? AND b.state = 'in_progress' AND b.expires_at > ? AND r.again_at <= ?
"""  # noqa: S608 - constants
_NOT_UNTRIED: Final = " AND (r.tries > 0 OR r.crashes > 0 OR c.model NOT IN ({}))"
_FIRST: Final = " ORDER BY r.again_at, r.number LIMIT 1"
_CLAIM: Final = """
UPDATE batch_request SET state = 'running', node = ?, incarnation = ?
WHERE wallet_id = ? AND batch_id = ? AND number = ? AND state = 'waiting'
"""
_OURS: Final = """
SELECT 1 FROM batch_request WHERE wallet_id = ? AND batch_id = ? AND number = ? AND state = 'running' AND node = ?
  AND incarnation = ? AND tries = ? AND crashes = ?
"""
_END: Final = """
UPDATE batch_request SET state = ?, result = ?, params = NULL, node = NULL, incarnation = NULL
WHERE wallet_id = ? AND batch_id = ? AND number = ?
"""
_PUT_BACK: Final = """
UPDATE batch_request SET state = 'waiting', node = NULL, incarnation = NULL, again_at = ?, tries = ?, crashes = ?,
  wasted = ?
WHERE wallet_id = ? AND batch_id = ? AND number = ?
"""
_COUNT: Final = """
UPDATE batch SET succeeded = succeeded + ?, errored = errored + ?, canceled = canceled + ?, expired = expired + ?,
  processing = processing - ?
WHERE wallet_id = ? AND id = ?
"""
_ALL_ENDED: Final = """
UPDATE batch SET state = 'ended', ended_at = ?
WHERE wallet_id = ? AND id = ? AND processing = 0 AND (state = 'in_progress' OR state = 'canceling')
"""
_CANCEL: Final = """
UPDATE batch SET state = 'canceling', cancel_at = ?
WHERE wallet_id = ? AND id = ? AND state = 'in_progress'
"""
_TO_CLOSE: Final = """
SELECT b.state, b.key_id, r.number, r.charge_id, r.wasted, r.crashes FROM batch b
JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id AND r.state = 'waiting'
WHERE b.wallet_id = ? AND b.id = ? AND (b.state = 'canceling' OR (b.state = 'in_progress' AND b.expires_at <= ?))
ORDER BY r.number LIMIT ?
"""
_DELETE: Final = """
UPDATE batch SET deleted_at = ? WHERE wallet_id = ? AND id = ? AND state = 'ended' AND deleted_at IS NULL
"""
_ARCHIVE: Final = """
UPDATE batch SET archived_at = ? WHERE wallet_id = ? AND id = ? AND state = 'ended' AND archived_at IS NULL
"""
_EMPTY_SOME: Final = """
DELETE FROM batch_request WHERE wallet_id = ? AND batch_id = ? AND number < (
  SELECT MIN(number) + ? FROM batch_request WHERE wallet_id = ? AND batch_id = ?)
"""
_EMPTIED: Final = "UPDATE batch SET emptied = 1 WHERE wallet_id = ? AND id = ?"

_COUNTED: Final = (RequestState.SUCCEEDED, RequestState.ERRORED, RequestState.CANCELED, RequestState.EXPIRED)


Place = tuple[str, str, int]
"""Of a request: its wallet, its batch, and its number there."""


class Named(msgspec.Struct, frozen=True):
    """A batch, a time, and how many of its requests to look at in one go."""

    wallet_id: str
    batch_id: str
    at_ms: int
    limit: int = 0
    untried_left: tuple[str, ...] = ()
    """Models whose requests are left alone while they were never tried."""

    @property
    def name(self) -> tuple[str, str]:
        return self.wallet_id, self.batch_id


def claim(connection: Connection, command: Named, owner: Owner) -> Ticket | None:
    """Take the next request of a batch that may run now; None when there is none."""
    wallet_id, batch_id = command.name
    models = command.untried_left
    but = _NOT_UNTRIED.format(", ".join("?" for _ in models)) if models else ""
    values = (wallet_id, batch_id, command.at_ms, command.at_ms, *models)
    row = connection.execute(_NEXT + but + _FIRST, values).fetchone()
    if row is None:
        return None
    found = ticket(wallet_id, batch_id, row)
    connection.execute(_CLAIM, (*owner, *found.place))
    return found


def ticket(wallet_id: str, batch_id: str, row: Sequence[Any]) -> Ticket:
    """A row of TICKET_COLUMNS as what is to be run."""
    number, charge_id, key_id, request_id, version, beta, price_id, params, *figures = row
    held, estimated, tries, crashes, wasted = figures
    return Ticket(
        wallet_id=wallet_id,
        batch_id=batch_id,
        number=number,
        charge_id=charge_id,
        key_id=key_id,
        request_id=request_id,
        version=version,
        beta=beta,
        price_id=price_id,
        params=bytes(params),
        held=held,
        estimated=estimated,
        tries=tries,
        crashes=crashes,
        wasted=wasted,
    )


def end(connection: Connection, command: End, owner: Owner, *, limited: bool) -> bool:
    """End a request of ours. False, with nothing written, when the claim no longer stands, or it has ended before."""
    ticket, charge = command.ticket, command.charge
    if not _is_ours(connection, ticket, owner):
        return False
    if isinstance(charge, Settle):
        settle.settle(connection, charge, limited=limited)
    else:
        settle.release(connection, charge)
    _ended(connection, ticket.place, command.state, command.result)
    _count(connection, (ticket.wallet_id, ticket.batch_id), {command.state: 1}, charge.at_ms)
    return True


def put_back(connection: Connection, command: Again, owner: Owner) -> bool:
    """Let it be run again. False, with nothing written, when the claim no longer stands."""
    ticket = command.ticket
    if not _is_ours(connection, ticket, owner):
        return False
    at = (command.again_at_ms, command.tries, command.crashes, command.wasted)
    connection.execute(_PUT_BACK, (*at, *ticket.place))
    return True


def cancel(connection: Connection, command: Named) -> None:
    """What has not begun does not begin any more. Safe to repeat: the first time stands."""
    connection.execute(_CANCEL, (command.at_ms, *command.name))


def close_some(connection: Connection, command: Named) -> int:
    """Give back what some waiting requests hold, of a batch that is canceled or over. How many there were."""
    found = connection.execute(_TO_CLOSE, (*command.name, command.at_ms, command.limit)).fetchall()
    counts: dict[RequestState, int] = {}
    for state, key_id, number, charge_id, wasted, crashes in found:
        ends = RequestState.CANCELED if state == "canceling" else RequestState.EXPIRED
        canceled = ends is RequestState.CANCELED
        settle.release(
            connection,
            Release(
                charge_id=charge_id,
                wallet_id=command.wallet_id,
                key_id=key_id,
                outcome=Outcome.CLIENT_GONE if canceled else Outcome.GATEWAY_ERROR,
                **loss(wasted, crashes),
                at_ms=command.at_ms,
            ),
        )
        _ended(connection, (*command.name, number), ends, None)
        counts[ends] = counts.get(ends, 0) + 1
    _count(connection, command.name, counts, command.at_ms)
    return len(found)


def delete(connection: Connection, command: Named) -> bool:
    """Nobody sees it any more. False when it has not ended, or is not there."""
    return connection.execute(_DELETE, (command.at_ms, *command.name)).rowcount == 1


def archive(connection: Connection, command: Named) -> None:
    """Its results can no longer be read. Safe to repeat."""
    connection.execute(_ARCHIVE, (command.at_ms, *command.name))


def empty_some(connection: Connection, command: Named) -> bool:
    """Delete some requests of a batch that is archived or deleted; True when none is left."""
    done = connection.execute(_EMPTY_SOME, (*command.name, command.limit, *command.name))
    if done.rowcount > 0:
        return False
    connection.execute(_EMPTIED, command.name)
    return True


def loss(wasted: int, crashes: int) -> dict[str, Any]:
    """What the tries of a request have cost, as a Settle or Release books it."""
    name = Loss.CRASH if crashes else Loss.ERROR
    return {"loss": name if wasted else None, "loss_amount": Nanos(wasted)}


def _is_ours(connection: Connection, ticket: Ticket, owner: Owner) -> bool:
    """Whether this very claim stands: one that was taken back and made again by the same process counts more."""
    found = connection.execute(_OURS, (*ticket.place, *owner, ticket.tries, ticket.crashes))
    return found.fetchone() is not None


def _ended(connection: Connection, request: Place, state: RequestState, result: bytes | None) -> None:
    connection.execute(_END, (state.value, result, *request))


def _count(connection: Connection, batch: tuple[str, str], counts: dict[RequestState, int], at_ms: int) -> None:
    amounts = [counts.get(state, 0) for state in _COUNTED]
    if sum(amounts):
        connection.execute(_COUNT, (*amounts, sum(amounts), *batch))
        connection.execute(_ALL_ENDED, (at_ms, *batch))
