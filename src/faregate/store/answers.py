"""Answers that are kept for a repeat: written with the settle of their call, read until their time is over, then gone.

The rule: no money hangs on an answer. One that is missing (too large, spooled, over) is a 409 with the receipt, and the
call stays billed once.

    settle ──> kept ──kept_until──> unread ──the next `forget`──> gone
"""

import asyncio
from typing import Any, Final

import msgspec

from faregate.core.ledger import Answer, Settle
from faregate.store.committer import Writer
from faregate.store.database import Connection, Readers
from faregate.store.statements import FORGET_ANSWER, KEEP_ANSWER

STEP: Final = 64
"""Answers deleted in one go: as many as a batch has commands, so that calls wait for one commit at most."""

_OVER: Final = "SELECT wallet_id, charge_id FROM answer WHERE kept_until <= ? ORDER BY kept_until LIMIT ?"


def keep(connection: Connection, command: Settle) -> None:
    """Keep the answer of a call, in the transaction that settles it."""
    answer = command.answer
    if answer is not None:
        headers = msgspec.json.encode(answer.headers).decode()
        connection.execute(
            KEEP_ANSWER, (command.wallet_id, command.charge_id, answer.kept_until_ms, headers, answer.body)
        )


def answer(row: tuple[Any, ...]) -> Answer:
    """Read a row of READ_ANSWER."""
    kept_until, headers, body = row
    return Answer(
        headers=msgspec.json.decode(headers, type=list[tuple[str, str]]), body=bytes(body), kept_until_ms=kept_until
    )


async def forget(writer: Writer, readers: Readers, at_ms: int) -> int:
    """Delete some of those whose time is over, at most STEP, and say how many there were. Raises NotReady."""
    over = await readers.scan(lambda connection: connection.execute(_OVER, (at_ms, STEP)).fetchall())
    # Other replicas do so at the same time: what is gone already is as well.
    await asyncio.gather(*(writer.submit(_forget, tuple(row), wallet_id=row[0]) for row in over))
    return len(over)


def _forget(connection: Connection, charge: tuple[str, str]) -> None:
    connection.execute(FORGET_ANSWER, charge)
