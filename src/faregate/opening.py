"""The ledger's database, opened as the settings say: the data folder, the pepper, this replica's name, the spool.

On PostgreSQL a replica has a name that is its own while it runs: `server.node`, or the machine's name and the port that
it listens on, so that one which starts again in the same place takes over at once what it had left open.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import structlog

from faregate import home
from faregate.core.ledger import Settle
from faregate.core.money import show_credits
from faregate.core.pricing import PriceVersion
from faregate.settings import Settings
from faregate.store.charges import Watch
from faregate.store.store import Store
from faregate.store.sweep import Swept
from faregate.telemetry import Telemetry


@contextlib.asynccontextmanager
async def opened_store(
    settings: Settings, prices: Sequence[PriceVersion], *, port: int, telemetry: Telemetry
) -> AsyncIterator[Store]:
    """Open the store that a gateway serves from. `port` is where it listens. Raises SettingsError or StoreRefused."""
    home.prepare(settings)
    node = settings.server.node or f"{socket.gethostname()}:{port}"
    alone = isinstance(settings.database, Path)
    spool = home.spool(settings, None if alone else node)
    _tell_of_orphaned_spools(settings.home, spool)
    async with Store.open(
        settings.database,
        pepper=home.pepper(settings),
        prices=prices,
        observe=telemetry.committed,
        swept=_tell_of_others,
        node=node,
        spool=spool,
        watch=SpoolWatch(telemetry),
    ) as store:
        if store.swept.charges:
            structlog.get_logger().warning(
                "the last gateway here ended without a word; what its calls had held was given back, free of charge",
                calls=store.swept.charges,
                crash_loss=show_credits(store.swept.lost),
            )
        yield store


def _tell_of_orphaned_spools(folder: Path, own: Path) -> None:
    """A replica that begins under another name than before does not read the spool of its old one."""
    for found in sorted(folder.glob("spool*")):
        if found != own:
            structlog.get_logger().warning(
                "a spool of another name holds what calls cost while the database was away: unless a replica runs "
                "under it, start one with FAREGATE_SERVER_NODE set to that name, and it is carried out",
                spool=str(found),
            )


class SpoolWatch(Watch):
    """Says that the database is away, that it is back, and what came too late."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._waiting = 0
        self._log = structlog.get_logger()

    def spooled(self, waiting: int) -> None:
        before, self._waiting = self._waiting, waiting
        self._telemetry.spooled(waiting)
        if waiting and not before:
            self._log.error("the database is away: what calls under way cost goes to the spool, new ones are refused")
        elif before and not waiting:
            self._log.warning("the database is back, and the spool is carried out")

    def too_late(self, command: Settle) -> None:
        self._log.error(
            "a charge in the spool had been given back before it was settled: the operator pays for it",
            charge_id=command.charge_id,
            cost=show_credits(command.charged + command.shortfall),
        )


def _tell_of_others(swept: Swept) -> None:
    structlog.get_logger().warning(
        "another gateway on this database ended without a word; what its calls had held was given back, free of charge",
        calls=swept.charges,
        crash_loss=show_credits(swept.lost),
    )
