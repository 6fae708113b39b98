"""The ledger's hot path (port.Ledger): reserve, streaming, settle, release, each handed to the committer.

What was once told is carried out. A reserve whose end nobody knows is released; a release that the database does not
take is left as a note; a settle goes to the spool, from where it is carried out when the database is back. But a node
that has not renewed its lease in time spools no more: the others give back what it holds, so nobody may see its end.
"""

import asyncio
import contextlib
from typing import Final

import msgspec

from faregate.core.errors import GatewayError, NotReady
from faregate.core.ledger import Lose, Outcome, Release, Reserve, Reserved, Settle
from faregate.store import reserve, settle
from faregate.store.committer import Writer
from faregate.store.database import Connection, WalletLocked, unavailable
from faregate.store.keys import Keys
from faregate.store.lease import Lease
from faregate.store.spool import Spool
from faregate.store.statements import STREAMING

AGAIN_S: Final = 1.0
"""Between two tries to carry out what is in the spool."""


class Watch:
    """Who is told what becomes of settles that the database did not take. Here: nobody."""

    def spooled(self, waiting: int) -> None:
        """So many are in the spool now."""

    def too_late(self, command: Settle) -> None:
        """The hold of one had been given back before it was carried out: the operator's loss, and nobody's charge."""


class Charges:
    """Implements port.Ledger for one node in one of its incarnations."""

    def __init__(
        self,
        writer: Writer,
        keys: Keys,
        *,
        node: str,
        incarnation: int,
        spool: Spool | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._writer = writer
        self._keys = keys
        self._owner = (node, incarnation)
        self._lease: Lease | None = None
        self._watch = watch if watch is not None else Watch()
        self._spool = spool
        self._spooled: list[Settle] = []
        """In the spool, and not yet carried out."""
        self._spooling = asyncio.Lock()
        self._carrying_out: asyncio.Task[None] | None = None
        self._closed = False

    def leased(self, lease: Lease) -> None:
        """Take no more holds once this lease is lost."""
        self._lease = lease

    async def reserve(self, command: Reserve) -> Reserved:
        if self._lease is not None and self._lease.lost:
            raise unavailable(RuntimeError("another process has taken this node's name"))
        taken = self._writer.submit(self._reserve, command, wallet_id=command.wallet_id)
        try:
            return await taken
        except NotReady as error:
            if not error.unknown:
                raise
            # It may have been taken all the same: a COMMIT that was not answered. Nobody will use it.
            self._release_later(
                Release(
                    charge_id=command.charge_id,
                    wallet_id=command.wallet_id,
                    key_id=command.key_id,
                    outcome=Outcome.GATEWAY_ERROR,
                    unused_input_tokens=command.input_tokens,
                    unused_output_tokens=command.output_tokens,
                    at_ms=command.at_ms,
                )
            )
            raise unavailable(error) from error

    def streaming(self, charge_id: str, wallet_id: str, at_ms: int) -> None:
        # It tells who looks; no money hangs on it. So it goes with a commit that runs anyway, and not at all when
        # the call ends before.
        self._writer.note(charge_id, _streaming, (wallet_id, charge_id), wallet_id=wallet_id)

    async def settle(self, command: Settle) -> None:
        self._writer.forget(command.charge_id)
        try:
            await self._submit_settle(command)
        except NotReady as error:
            lapsed = self._lease is not None and self._lease.lapsed
            # What may be settled already may not be called an error: an error is never billed.
            if self._spool is None or (lapsed and not error.unknown):
                raise
            await self._keep(self._spool, command, error)

    async def release(self, command: Release) -> None:
        self._writer.forget(command.charge_id)
        try:
            await self._writer.submit(settle.release, command, wallet_id=command.wallet_id, ends=True)
        except GatewayError:
            # Nobody will ask again, and money that is held for a call that has ended is lost to its owner until then.
            self._release_later(command)
            raise

    async def lose(self, command: Lose) -> None:
        try:
            await self._writer.submit(settle.lose, command, wallet_id=command.wallet_id, ends=True)
        except GatewayError:
            # Under another name than its charge, whose own end may be waiting there.
            name = f"loss:{command.charge_id}"
            self._writer.note(name, settle.lose, command, wallet_id=command.wallet_id, ends=True)
            raise

    @property
    def spooled(self) -> set[str]:
        """The charges whose settle is in the spool."""
        return {command.charge_id for command in self._spooled}

    async def recover(self) -> None:
        """Carry out what the spool holds from an earlier life; what cannot be is tried on. Raises StoreRefused."""
        if self._spool is not None:
            self._spooled = await asyncio.to_thread(self._spool.read)
            with contextlib.suppress(NotReady):
                await self._carry_out(self._spool)
            self._go_on(self._spool)

    async def close(self) -> None:
        """Try once more to carry out what is in the spool: the rest is the next start's."""
        self._closed = True
        if self._carrying_out is None:
            return
        self._carrying_out.cancel()
        await asyncio.wait([self._carrying_out])
        if self._spool is not None:
            with contextlib.suppress(NotReady):
                await self._carry_out(self._spool)

    async def _keep(self, spool: Spool, command: Settle, refusal: NotReady) -> None:
        # The spool is for money: an answer is not written to a file of its own, and a repeat gets the receipt.
        command = msgspec.structs.replace(command, answer=None)
        async with self._spooling:
            appending = asyncio.create_task(asyncio.to_thread(spool.append, command))
            try:
                await asyncio.shield(appending)
            except OSError as error:
                if not refusal.unknown:
                    raise refusal from error
                try:
                    await self._submit_settle(command)  # It may be there, and then it is no error.
                except NotReady:
                    raise refusal from error
            finally:
                # Whoever waited may have left; until it is written the file is nobody else's, and then it is kept.
                await asyncio.wait([appending])
                if appending.exception() is None:
                    self._spooled.append(command)
                    self._watch.spooled(len(self._spooled))
                    self._go_on(spool)

    def _go_on(self, spool: Spool) -> None:
        if self._spooled and not self._closed and (self._carrying_out is None or self._carrying_out.done()):
            self._carrying_out = asyncio.create_task(self._carry_out_later(spool))

    async def _carry_out_later(self, spool: Spool) -> None:
        while self._spooled:
            await asyncio.sleep(AGAIN_S)
            try:
                await self._carry_out(spool)
            except NotReady:
                continue

    async def _carry_out(self, spool: Spool) -> None:
        """Once through all of it. Raises NotReady when the database is away."""
        locked: set[str] = set()
        for command in list(self._spooled):
            if command.wallet_id in locked:
                continue
            try:
                await self._submit_settle(command)
            except NotReady as error:
                if isinstance(error.__cause__, WalletLocked):
                    locked.add(command.wallet_id)
                    continue
                # The next time begins with another: this one may be all that it has something against.
                self._spooled.remove(command)
                self._spooled.append(command)
                raise
            except GatewayError as error:
                if "too_late" not in error.details:
                    continue  # Whatever the database has against it, money is not thrown away for it.
                self._watch.too_late(command)
            self._spooled.remove(command)
            self._watch.spooled(len(self._spooled))
        async with self._spooling:
            if not self._spooled:
                await asyncio.to_thread(spool.clear)

    def _submit_settle(self, command: Settle) -> "asyncio.Future[None]":
        return self._writer.submit(self._settle, command, wallet_id=command.wallet_id, ends=True)

    def _release_later(self, command: Release) -> None:
        self._writer.note(command.charge_id, settle.release, command, wallet_id=command.wallet_id, ends=True)

    def _reserve(self, connection: Connection, command: Reserve) -> Reserved:
        return reserve.reserve(connection, command, self._owner)

    def _settle(self, connection: Connection, command: Settle) -> None:
        settle.settle(connection, command, limited=self._keys.may_be_limited(command.key_id))


def _streaming(connection: Connection, charge: tuple[str, str]) -> None:
    connection.execute(STREAMING, charge)
