"""Answers whose time is over are deleted by each gateway, a few at a time, beside the calls.

The rule: forgetting changes nothing that a caller is told. An answer is no longer given when its time is over, whether
or not its row is still there; where none is kept, this is one look at an empty index a minute.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from faregate.core.errors import GatewayError, NotReady
from faregate.store.port import Records

FORGET_S: Final = 60
"""Between two looks: how long an answer may stay on the disk beyond its time."""


async def forget_answers(records: Records, *, now_ms: Callable[[], int], log: Any) -> None:
    """Forget until cancelled."""
    while True:
        try:
            forgotten = await records.forget_answers(now_ms())
        except NotReady:
            forgotten = 0  # The database is away: the next look finds them.
        except GatewayError as error:
            forgotten = 0
            log.error("answers whose time is over could not be deleted", exc_info=error)
        # Where there were some there may be more, but between two steps it is the calls' turn.
        await asyncio.sleep(0 if forgotten else FORGET_S)
