"""The ledger's hot path (port.Ledger): reserve, streaming, settle, release, each handed to the committer."""

from faregate.core.errors import NotReady
from faregate.core.ledger import Lose, Release, Reserve, Reserved, Settle
from faregate.store import reserve, settle
from faregate.store.committer import Writer
from faregate.store.database import Connection
from faregate.store.keys import Keys
from faregate.store.statements import STREAMING


class Charges:
    """Implements port.Ledger for one node in one of its incarnations."""

    def __init__(self, writer: Writer, keys: Keys, *, node: str, incarnation: int) -> None:
        self._writer = writer
        self._keys = keys
        self._owner = (node, incarnation)

    async def reserve(self, command: Reserve) -> Reserved:
        return await self._writer.submit(self._reserve, command, wallet_id=command.wallet_id)

    def streaming(self, charge_id: str, wallet_id: str, at_ms: int) -> None:
        # It tells who looks; no money hangs on it. So it goes with a commit that runs anyway, and not at all when
        # the call ends before.
        self._writer.note(charge_id, _streaming, (wallet_id, charge_id), wallet_id=wallet_id)

    async def settle(self, command: Settle) -> None:
        self._writer.forget(command.charge_id)
        await self._writer.submit(self._settle, command, wallet_id=command.wallet_id, ends=True)

    async def release(self, command: Release) -> None:
        self._writer.forget(command.charge_id)
        try:
            await self._writer.submit(settle.release, command, wallet_id=command.wallet_id, ends=True)
        except NotReady:
            # Nobody will ask again, and money that is held for a call that has ended is lost to its owner until then.
            self._writer.note(command.charge_id, settle.release, command, wallet_id=command.wallet_id)
            raise

    async def lose(self, command: Lose) -> None:
        try:
            await self._writer.submit(settle.lose, command, wallet_id=command.wallet_id, ends=True)
        except NotReady:
            # Under another name than its charge, whose own end may be waiting there.
            self._writer.note(f"loss:{command.charge_id}", settle.lose, command, wallet_id=command.wallet_id)
            raise

    def _reserve(self, connection: Connection, command: Reserve) -> Reserved:
        return reserve.reserve(connection, command, self._owner)

    def _settle(self, connection: Connection, command: Settle) -> None:
        settle.settle(connection, command, limited=self._keys.may_be_limited(command.key_id))


def _streaming(connection: Connection, charge: tuple[str, str]) -> None:
    connection.execute(STREAMING, charge)
