"""The books are proven at every start and every hour, beside the calls; what is wrong is logged and shown as a metric.

The rule: an audit tells and changes nothing. Whoever is told runs `faregate audit`, which says the same at length.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from faregate.core.errors import NotReady
from faregate.store.port import Office

AUDIT_S: Final = 3_600
"""Between two audits: each reads the whole ledger."""


async def audit_hourly(office: Office, *, audited: Callable[[int], None], log: Any) -> None:
    """Audit until cancelled. `audited` is told how many rules the books break, each time."""
    while True:
        try:
            broken = [finding for finding in await office.audit() if finding.count]
        except NotReady as error:
            log.error("the books could not be audited", exc_info=error)
        else:
            audited(len(broken))
            for finding in broken:
                log.error(
                    "THE BOOKS ARE NOT CLEAN: run `faregate audit`",
                    rule=finding.rule,
                    meaning=finding.meaning,
                    rows=finding.count,
                    examples=finding.examples,
                )
        await asyncio.sleep(AUDIT_S)
