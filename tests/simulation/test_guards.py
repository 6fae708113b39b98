"""The simulation notices what it is there for: bugs that are planted in the gateway are found, each by its symptom.

Method: one fault is put into the shipped code, and worlds are run until one breaks; the first that does must name it.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from faregate.core import meter
from faregate.core.access import judge_active
from faregate.core.ledger import Basis, Release
from faregate.core.meter import Meter, Progress
from faregate.core.stream import Stream
from faregate.proxy import entry, story
from faregate.proxy.attempts import Attempts
from faregate.proxy.hold import Hold
from faregate.proxy.relay import _Pulse
from faregate.store import reserve, settle, sweep
from faregate.store.charges import Charges
from faregate.store.keys import Keys
from faregate.store.office import Office
from faregate.store.prices import Prices
from faregate.store.store import NOTHING
from tests.simulation import world as place
from tests.simulation.run import Share, world

WORLDS = 12
REQUESTS = 150

Plant = Callable[[pytest.MonkeyPatch], None]


def broken_by(patch: pytest.MonkeyPatch, plant: Plant) -> str:
    """What the first world that breaks says of it."""
    plant(patch)
    for number in range(WORLDS):
        verdict = world(Share(99, number, REQUESTS))
        if verdict.broken:
            return "\n".join(verdict.broken)
    return ""


def settle_twice(patch: pytest.MonkeyPatch) -> None:
    honest = settle.settle

    def twice(connection: Any, command: Any, *, limited: bool) -> None:
        honest(connection, command, limited=limited)
        connection.execute(
            "UPDATE charge SET state = 'streaming', settled_at = NULL WHERE id = ?", (command.charge_id,)
        )
        honest(connection, command, limited=limited)

    patch.setattr(settle, "settle", twice)


def bill_double(patch: pytest.MonkeyPatch) -> None:
    honest = Meter.close

    def double(self: Meter) -> Any:
        reading = honest(self)
        return msgspec.structs.replace(
            reading, usage=msgspec.structs.replace(reading.usage, input=2 * reading.usage.input)
        )

    patch.setattr(Meter, "close", double)


def never_release(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Hold, outcome: Any, **more: Any) -> None:
        self.outcome = outcome

    patch.setattr(Hold, "release", nothing)


def answer_before_commit(patch: pytest.MonkeyPatch) -> None:
    async def hasty(self: Charges, command: Any) -> None:
        self._writer.submit(self._settle, command, wallet_id=command.wallet_id, ends=True)

    patch.setattr(Charges, "settle", hasty)


def never_sweep(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*where: Any, **more: Any) -> Any:
        return NOTHING

    patch.setattr(sweep, "at_start", nothing)


def sweep_the_living(patch: pytest.MonkeyPatch) -> None:
    """Every charge is given back a moment after it was taken, whoever owns it."""
    honest = Charges.reserve

    async def swept(self: Charges, command: Any) -> Any:
        reserved = await honest(self, command)
        found = [sweep.Open(command.wallet_id, command.charge_id, command.key_id, command.estimated, False)]
        asyncio.get_running_loop().create_task(sweep.release(self._writer, found, at_ms=command.at_ms))
        return reserved

    patch.setattr(Charges, "reserve", swept)


def bill_what_was_cut(patch: pytest.MonkeyPatch) -> None:
    honest = Stream.end
    # Of a stream that has not begun nothing can be billed, and who waits for its start waits for this.
    patch.setattr(Stream, "end", lambda self: self.meter.stop() if self.progress is Progress.RUNNING else honest(self))


def add_counts(patch: pytest.MonkeyPatch) -> None:
    honest = meter._merge

    def added(counts: dict[str, int], usage: object) -> bool:
        before = counts.get("output_tokens", 0)
        counted = honest(counts, usage)
        counts["output_tokens"] = counts.get("output_tokens", 0) + before
        return counted

    patch.setattr(meter, "_merge", added)


def leave_upstream_running(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempts, "cancel", lambda self: None)


def stay_with_the_first_price(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prices, "price", lambda self, model, now_ms: self._by_model[model][0])


def let_revoked_keys_in(patch: pytest.MonkeyPatch) -> None:
    for module in (entry, reserve):
        patch.setattr(module, "judge_active", lambda **facts: judge_active(**{**facts, "revoked_at_ms": None}))


def show_the_end_at_once(patch: pytest.MonkeyPatch) -> None:
    honest = Stream.feed

    def eager(self: Stream, data: bytes) -> bytes:
        passed = honest(self, data) + self.tail
        self.tail = b""
        return passed

    patch.setattr(Stream, "feed", eager)


def forget_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keys, "may_be_limited", lambda self, key_id: False)


def lose_the_idempotency_key(patch: pytest.MonkeyPatch) -> None:
    honest = Charges.reserve

    async def forgetful(self: Charges, command: Any) -> Any:
        return await honest(self, msgspec.structs.replace(command, idempotency_key=None))

    patch.setattr(Charges, "reserve", forgetful)


def count_nothing_of_the_cut(patch: pytest.MonkeyPatch) -> None:
    honest = Meter.close

    def blind(self: Meter) -> Any:
        reading = honest(self)
        if reading.basis is not Basis.COUNTED:
            return reading
        return msgspec.structs.replace(reading, usage=msgspec.structs.replace(reading.usage, input=0))

    patch.setattr(Meter, "close", blind)


def forget_the_spool(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Charges, *more: Any) -> None:
        await asyncio.sleep(0)

    patch.setattr(Charges, "_keep", nothing)


def book_nothing_of_the_rest(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Hold, *more: Any) -> None:
        await asyncio.sleep(0)

    patch.setattr(Hold, "lose", nothing)


def lose_what_the_operator_moved(patch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Office, movement: Any) -> None:
        await asyncio.sleep(0)

    patch.setattr(Office, "_move", nothing)


def tell_another_charge(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(story, "charged_header", lambda held: (b"x-credits-charged", b"1000000"))


def book_no_crash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sweep, "Release", lambda **facts: Release(**{**facts, "loss": None, "loss_amount": 0}))


def let_expired_keys_in(patch: pytest.MonkeyPatch) -> None:
    for module in (entry, reserve):
        patch.setattr(module, "judge_active", lambda **facts: judge_active(**{**facts, "expires_at_ms": None}))


def ignore_the_scope(patch: pytest.MonkeyPatch) -> None:
    honest = entry.find_model

    def unscoped(gate: Any, key: Any, document: Any) -> Any:
        return honest(gate, msgspec.structs.replace(key, models=()), document)

    patch.setattr(entry, "find_model", unscoped)


def tell_nobody(patch: pytest.MonkeyPatch) -> None:
    async def unheard(gate: Any, caller: Any) -> None:
        await story.serve(msgspec.structs.replace(gate, observer=Mock()), caller)

    patch.setattr(place, "serve", unheard)


def swallow_pings(patch: pytest.MonkeyPatch) -> None:
    honest = Stream.feed
    patch.setattr(Stream, "feed", lambda self, data: honest(self, data).replace(b"event: ping", b"event: pong"))


def leave_the_pulse_running(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Pulse, "stop", lambda self: None)


FOUND: tuple[tuple[Plant, str], ...] = (
    (settle_twice, "trouble"),
    (bill_double, "wrong"),
    (never_release, "is still reserved"),
    (answer_before_commit, "saw the end"),
    (never_sweep, "is still"),
    (sweep_the_living, "given back before it was settled"),
    (bill_what_was_cut, "upstream never gave"),
    (add_counts, "wrong"),
    (leave_upstream_running, "its caller left"),
    (stay_with_the_first_price, "was in force"),
    (let_revoked_keys_in, "was revoked before it came"),
    (show_the_end_at_once, "before it was billed"),
    (forget_limits, "limit"),
    (lose_the_idempotency_key, "double"),
    (count_nothing_of_the_cut, "wrong"),
    (forget_the_spool, "saw the end"),
    (book_nothing_of_the_rest, "in the end"),
    (lose_what_the_operator_moved, "was answered and is lost"),
    (tell_another_charge, "x-credits-charged said 1000000"),
    (book_no_crash, "crash_loss has"),
    (let_expired_keys_in, "after its key had expired"),
    (ignore_the_scope, "which its key may not use"),
    (tell_nobody, "the observer was told 0 times"),
    (swallow_pings, "what upstream did not send"),
    (leave_the_pulse_running, "a timer is left"),
)


@pytest.mark.parametrize(("plant", "symptom"), FOUND, ids=[plant.__name__ for plant, _ in FOUND])
def test_a_bug_is_found(plant: Plant, symptom: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert symptom in broken_by(monkeypatch, plant)
