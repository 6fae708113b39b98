"""What the checker is shown of a world: the books by request, what upstream served, and what callers saw.

The rule: what upstream reported is read from its own log, by the bytes that were taken from it, and added up here: by
presence, overwritten, never added; what is no count is absent.
"""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults import checker
from tests.simulation.caller import Note
from tests.simulation.plays import COUNTS_MAX
from tests.simulation.upstream import Attempt

COLUMNS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
MESSAGE_ID: Final = re.compile(rb'"id":"(msg_[0-9A-Z]{26})"')


class Charge(NamedTuple):
    """A row of the ledger that a request made."""

    wallet_id: str
    id: str
    key_id: str
    request: int
    model: str
    price_id: str
    state: str
    outcome: str | None
    held: int
    estimated: int
    charged: int
    shortfall: int
    created_at: int
    settled_at: int | None


_CHARGES: Final = """
SELECT wallet_id, id, key_id, CAST(SUBSTR(request_id, 5) AS INTEGER), model, price_id, state, outcome, held, estimated,
  charged, shortfall, created_at, settled_at FROM charge ORDER BY wallet_id, id
"""


def charges(connection: sqlite3.Connection) -> list[Charge]:
    """Every charge of the ledger."""
    return [Charge(*row) for row in connection.execute(_CHARGES)]


def checked(
    file: Path,
    notes: list[Note],
    log: list[Attempt],
    by_request: dict[int, list[Charge]],
    *,
    quiet: bool,
    spooled: set[str],
) -> list[str]:
    books = checker.read_sqlite(file)
    label = {charge.id: b"%d" % charge.request for charges in by_request.values() for charge in charges}
    # A repeated call has the body of its first: here each charge is known by its request.
    books = books._replace(charges=[charge._replace(body_sha256=label[charge.id]) for charge in books.charges])
    calls = [
        checker.UpstreamCall(
            marker=str(attempt.request),
            status=attempt.play.status if attempt.answered else 0,
            finished=attempt.whole,
            usage=reported(attempt, only_hours=b'"1h"' in attempt.body),
        )
        for attempt in log
    ]
    seen = [
        checker.Note(
            marker=str(note.call.number),
            saw="cut"
            if _message_id(note) in spooled
            else "end"
            if note.ended
            else "error"
            if note.error is not None
            else "cut",
            left=note.left_at is not None,
            message_id=_message_id(note),
            body_sha256=b"%d" % note.call.number,
        )
        for note in notes
    ]
    return checker.check(books, calls, seen, quiet=quiet)


def spooled(spool: Path) -> set[str]:
    """The charges whose settle waits beside the file: a sum, a space and JSON in each line."""
    lines = spool.read_text().splitlines() if spool.exists() else []
    return {json.loads(line.partition(" ")[2])["charge_id"] for line in lines}


def _message_id(note: Note) -> str | None:
    found = MESSAGE_ID.search(note.received[0][:2_000]) if note.received else None
    return found[1].decode() if found is not None else None


def reported(attempt: Attempt, *, only_hours: bool) -> dict[str, int] | None:
    """What upstream had reported of a call, in disjoint columns; None where it reported nonsense or nothing."""
    counts: dict[str, int] = {}
    told = False
    given = attempt.given if attempt.play.whole_by is None else min(attempt.given, attempt.play.whole_by)
    for number, report in enumerate(report for report in attempt.play.reports if report.by <= given):
        usage = report.usage
        if not isinstance(usage, dict):
            continue
        counts |= _counts(usage)
        told = told or (
            _counts({"output_tokens": usage.get("output_tokens")}) != {} and (number > 0 or not attempt.streamed)
        )
    if attempt.play.bad or "input_tokens" not in counts or (attempt.whole and not told):
        return None
    short, long = counts.get("5m", 0), counts.get("1h", 0)
    written = counts.get("cache_creation_input_tokens", short + long)
    long = written - min(short, written) if only_hours else min(long, written)
    return {
        "input": counts["input_tokens"],
        "output": counts.get("output_tokens", 0),
        "cache_read": counts.get("cache_read_input_tokens", 0),
        "cache_write_5m": written - long,
        "cache_write_1h": long,
    }


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    """The counts that are counts."""
    split = usage.get("cache_creation")
    named = {**usage}
    if isinstance(split, dict):
        named |= {name: split.get(f"ephemeral_{name}_input_tokens") for name in ("5m", "1h")}
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "5m", "1h")
    return {name: value for name in names if type(value := named.get(name)) is int and 0 <= value <= COUNTS_MAX}
