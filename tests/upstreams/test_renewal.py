"""Keys are fetched in a thread, once for all who wait, before they end; and a provider that is down costs nobody a call
while what we have is good.

Method: a source whose fetches the test lets go one by one; whether what it gave is due is the test's word.
"""

import asyncio
import logging
import threading

import pytest

from faregate.upstreams.port import CannotStart, Fault, FaultKind
from faregate.upstreams.renewal import SPARE_S, Renewal
from tests.upstreams.asking import until

SOON_S = 900.0


class Source:
    """Gives 1, 2, 3 ...; `ends_in_s` is how long the last one is still good."""

    def __init__(self) -> None:
        self.fetches = 0
        self.ends_in_s = 1e9
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()

    def fetch(self) -> int:
        self.fetches += 1
        self.threads.add(threading.get_ident())
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return self.fetches

    def due(self, within_s: float) -> bool:
        return self.ends_in_s < within_s


def renewal(source: Source, pause_s: float = 0.0) -> Renewal[int]:
    return Renewal(source, name="aws", soon_s=SOON_S, pause_s=pause_s)


async def test_it_is_fetched_once_and_kept_and_never_on_the_event_loop() -> None:
    source = Source()
    keys = renewal(source)
    assert keys.held is None
    assert [await keys.get() for _ in range(5)] == [1] * 5
    assert keys.held == 1 and source.fetches == 1
    assert threading.get_ident() not in source.threads


async def test_all_who_wait_share_one_fetch() -> None:
    source = Source()
    source.gate.clear()
    keys = renewal(source)
    waiting = [asyncio.create_task(keys.get()) for _ in range(50)]
    await until(lambda: source.fetches == 1)
    source.gate.set()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert source.fetches == 1


async def test_one_who_leaves_does_not_stop_the_fetch_for_the_others() -> None:
    source = Source()
    source.gate.clear()
    keys = renewal(source)
    leaves, stays = asyncio.create_task(keys.get()), asyncio.create_task(keys.get())
    await until(lambda: source.fetches == 1)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    source.gate.set()
    assert await stays == 1


async def test_what_ends_soon_is_used_while_the_next_is_fetched() -> None:
    source = Source()
    keys = renewal(source)
    await keys.get()
    source.ends_in_s = SOON_S - 1
    source.gate.clear()
    assert [await keys.get() for _ in range(3)] == [1] * 3
    await until(lambda: source.fetches == 2)
    source.ends_in_s = 1e9
    assert await keys.get() == 1, "the source may know of the next before we have it"
    source.gate.set()
    await until(lambda: keys.held == 2)
    assert await keys.get() == 2 and source.fetches == 2


async def test_what_has_ended_is_not_used_any_more() -> None:
    source = Source()
    keys = renewal(source)
    await keys.get()
    source.ends_in_s = SPARE_S - 1
    assert await keys.get() == 2


async def test_a_fetch_that_fails_ahead_of_time_costs_nobody_a_call() -> None:
    source = Source()
    keys = renewal(source)
    await keys.get()
    source.ends_in_s, source.error = SOON_S - 1, OSError("the metadata server is away")
    for fetches in (2, 3):
        assert await keys.get() == 1
        await until(lambda fetches=fetches: source.fetches == fetches)  # type: ignore[misc]
        await asyncio.sleep(0)
    source.ends_in_s = 0
    with pytest.raises(Fault, match="aws: no credentials: the metadata server is away") as caught:
        await keys.get()
    assert caught.value.kind is FaultKind.CONNECT


async def test_a_source_that_gives_the_same_again_is_not_asked_per_call() -> None:
    source = Source()
    keys = renewal(source, pause_s=3600.0)
    source.ends_in_s = SOON_S - 1
    for _ in range(20):
        await keys.get()
        await asyncio.to_thread(int)  # What had been begun would have been carried out.
    assert source.fetches == 1


async def test_after_a_failure_the_next_call_tries_again() -> None:
    source = Source()
    source.error = OSError("away")
    keys = renewal(source)
    with pytest.raises(Fault):
        await keys.get()
    source.error = None
    assert await keys.get() == 2


async def test_a_provider_that_never_answers_is_waited_for_so_long_and_no_longer() -> None:
    source = Source()
    source.gate.clear()
    keys = Renewal(source, name="aws", soon_s=SOON_S, wait_s=0.01)
    await asyncio.wait_for(keys.start(), 10)
    assert keys.held is None, "a gateway starts without it"
    with pytest.raises(Fault, match=r"aws: no credentials: the provider did not answer within 0\.01 s") as caught:
        await asyncio.wait_for(keys.get(), 10)
    assert caught.value.kind is FaultKind.CONNECT
    source.gate.set()
    await until(lambda: keys.held == 1)
    assert source.fetches == 1, "who waits later waits for the same fetch"


async def test_a_fetch_that_timed_out_in_its_thread_is_a_fault_of_the_provider() -> None:
    source = Source()
    source.error = TimeoutError("the metadata server is slow")
    with pytest.raises(Fault, match="aws: no credentials: the metadata server is slow"):
        await renewal(source).get()


async def test_the_operator_reads_once_that_fetches_fail_and_never_what_a_provider_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    keys = renewal(source)
    caplog.set_level(logging.WARNING, logger=Renewal.__module__)
    errors = (Exception("is away", {"id_token": "hunter2"}), OSError(), None, OSError(2, "No such file"))
    for error, lines in zip(errors, (1, 1, 1, 2), strict=True):
        source.error = error
        try:
            await keys.get()
        except Fault as fault:
            assert error is not None and "hunter2" not in str(fault)
        source.ends_in_s = 0
        await until(lambda: keys._task is None)
        assert len(caplog.records) == lines
    assert "aws: no credentials, and it is tried again: is away" in caplog.text and "No such file" in caplog.text
    assert "hunter2" not in caplog.text


async def test_at_start_what_cannot_work_is_refused_and_what_may_pass_is_not() -> None:
    source = Source()
    source.error = CannotStart("no such profile")
    with pytest.raises(CannotStart, match="no such profile"):
        await renewal(source).start()
    source.error = OSError("away")
    keys = renewal(source)
    await keys.start()
    assert keys.held is None


async def test_stopping_waits_for_no_thread() -> None:
    source = Source()
    source.gate.clear()
    keys = renewal(source)
    waiting = asyncio.create_task(keys.get())
    await until(lambda: source.fetches == 1)
    await keys.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.gate.set()
