"""Batches of upstreams, and the requests in them: each command is one transaction in which its wallet is ours.

The rule: an upstream's batch runs a request as a process does, so a request is claimed by it, ended and put back by
batch_queue's own commands, with the batch as the owner: `(native.id, 0)`. A result that comes twice finds no claim.

    fill, fill ──> submit ──> submitted ──> (batch_queue.end for each) ──> finish
                    give_back, give_back ... ──────────────────────────────^
"""

from typing import Final

import msgspec

from faregate.core.batch_commands import Ticket
from faregate.core.native_batch import GiveBack, Native
from faregate.store.batch_making import Owner
from faregate.store.batch_queue import TICKET_COLUMNS, ticket
from faregate.store.database import Connection

_UNTRIED: Final = "r.state = 'waiting' AND r.again_at <= ? AND r.tries = 0 AND r.crashes = 0"
_SOME: Final = f"""
SELECT {TICKET_COLUMNS}
FROM batch b JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id AND {_UNTRIED}
JOIN charge c ON c.wallet_id = r.wallet_id AND c.id = r.charge_id AND c.model IN ({{}})
WHERE b.wallet_id = ? AND b.id = ? AND b.state = 'in_progress' AND b.expires_at > ?
ORDER BY r.again_at, r.number LIMIT ?
"""  # noqa: S608 - constants
FIRST: Final = f"""
SELECT b.wallet_id, b.id FROM batch b
WHERE b.ended_at IS NULL AND b.state = 'in_progress' AND b.expires_at > ? AND EXISTS(
  SELECT 1 FROM batch_request r JOIN charge c ON c.wallet_id = r.wallet_id AND c.id = r.charge_id
  WHERE r.wallet_id = b.wallet_id AND r.batch_id = b.id AND {_UNTRIED} AND c.model IN ({{}}))
ORDER BY b.id LIMIT 1
"""  # noqa: S608 - constants
_OPEN: Final = """
INSERT INTO native_batch(wallet_id, id, batch_id, upstream, node, incarnation, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_IS_OPEN: Final = "SELECT 1 FROM native_batch WHERE wallet_id = ? AND id = ?"
_JOIN: Final = """
UPDATE batch_request SET state = 'running', node = ?, incarnation = 0
WHERE wallet_id = ? AND batch_id = ? AND number = ? AND state = 'waiting'
"""
_SUBMIT: Final = """
UPDATE native_batch SET state = 'submitting'
WHERE wallet_id = ? AND id = ? AND state = 'filling' AND node = ? AND incarnation = ?
"""
_SUBMITTED: Final = """
UPDATE native_batch SET state = 'processing', upstream_id = ?
WHERE wallet_id = ? AND id = ? AND state = 'submitting' AND node = ? AND incarnation = ?
"""
_ADOPT: Final = """
UPDATE native_batch SET node = ?, incarnation = ?
WHERE wallet_id = ? AND id = ? AND node = ? AND incarnation = ? AND ended_at IS NULL
"""
_BACK: Final = """
UPDATE batch_request SET state = 'waiting', node = NULL, incarnation = NULL, again_at = ?, tries = tries + ?,
  crashes = crashes + ?, wasted = wasted + ? * (
    SELECT estimated FROM charge c WHERE c.wallet_id = batch_request.wallet_id AND c.id = batch_request.charge_id)
WHERE wallet_id = ? AND batch_id = ? AND state = 'running' AND node = ? AND incarnation = 0 AND number IN (
  SELECT o.number FROM batch_request o
  WHERE o.wallet_id = ? AND o.batch_id = ? AND o.state = 'running' AND o.node = ? AND o.incarnation = 0
  ORDER BY o.number LIMIT ?)
"""
_FINISH: Final = """
UPDATE native_batch SET state = 'ended', ended_at = ? WHERE wallet_id = ? AND id = ? AND ended_at IS NULL
"""
TICKET: Final = f"""
SELECT {TICKET_COLUMNS}
FROM batch b JOIN batch_request r ON r.wallet_id = b.wallet_id AND r.batch_id = b.id AND r.state = 'running'
JOIN charge c ON c.wallet_id = r.wallet_id AND c.id = r.charge_id
WHERE r.wallet_id = ? AND r.charge_id = ? AND r.node = ? AND r.incarnation = 0
"""  # noqa: S608 - constants


class Filling(msgspec.Struct, frozen=True):
    """Some more requests for a batch of an upstream."""

    native: Native
    models: tuple[str, ...]
    at_ms: int
    limit: int
    bytes_max: int


def with_models(statement: str, models: tuple[str, ...]) -> str:
    """A statement that looks for requests of these models."""
    return statement.format(", ".join("?" for _ in models))


def fill(connection: Connection, command: Filling, owner: Owner) -> list[Ticket]:
    """Let requests that were never tried join; the batch is opened with the first. At least one, where there is one."""
    native = command.native
    at_ms = command.at_ms
    values = (at_ms, *command.models, native.wallet_id, native.batch_id, at_ms, command.limit)
    tickets: list[Ticket] = []
    size = 0
    for row in connection.execute(with_models(_SOME, command.models), values).fetchall():
        found = ticket(native.wallet_id, native.batch_id, row)
        size += len(found.params)
        if tickets and size > command.bytes_max:
            break
        tickets.append(found)
    named = (native.wallet_id, native.id)
    if tickets and connection.execute(_IS_OPEN, named).fetchone() is None:
        connection.execute(_OPEN, (*named, native.batch_id, native.upstream, *owner, command.at_ms))
    for one in tickets:
        connection.execute(_JOIN, (native.id, native.wallet_id, native.batch_id, one.number))
    return tickets


def submit(connection: Connection, native: Native, owner: Owner) -> bool:
    """Upstream is about to be asked. False when this is no longer ours: then it must not be."""
    return connection.execute(_SUBMIT, (native.wallet_id, native.id, *owner)).rowcount == 1


def submitted(connection: Connection, native: Native, owner: Owner) -> bool:
    """Upstream has it, under the name in `upstream_id`. False when it was given up for lost meanwhile."""
    values = (native.upstream_id, native.wallet_id, native.id, *owner)
    return connection.execute(_SUBMITTED, values).rowcount == 1


def adopt(connection: Connection, native: Native, owner: Owner) -> bool:
    """Look after what a process that is gone has left. False when another does already."""
    return connection.execute(_ADOPT, (*owner, native.wallet_id, native.id, *native.owner)).rowcount == 1


def give_back(connection: Connection, command: GiveBack, limit: int) -> int:
    """Put some of what it runs back into the queue. How many there were."""
    native = command.native
    at = (command.again_at_ms, int(command.tried), int(command.crashed), int(command.cost))
    place = (native.wallet_id, native.batch_id, native.id)
    return connection.execute(_BACK, (*at, *place, *place, limit)).rowcount


def finish(connection: Connection, native: Native, at_ms: int) -> None:
    """It runs nothing more. Safe to repeat."""
    connection.execute(_FINISH, (at_ms, native.wallet_id, native.id))
