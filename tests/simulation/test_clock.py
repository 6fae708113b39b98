"""Virtual time passes when nothing else can happen, and the process can die between any two steps."""

import asyncio
import time

import pytest

from tests.simulation.clock import Crash, VirtualLoop


def run(loop: VirtualLoop, main: object) -> object:
    try:
        return loop.run_until_complete(main)  # type: ignore[arg-type]
    finally:
        loop.close()


def test_an_hour_passes_at_once_and_in_order() -> None:
    loop, seen = VirtualLoop(), []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, loop.time()))

    async def main() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (3600, 1, 60, 1)))

    began = time.monotonic()
    run(loop, main())

    assert seen == [(1, 1.0), (1, 1.0), (60, 60.0), (3600, 3600.0)]
    assert time.monotonic() - began < 60


def test_a_timeout_is_kept_by_the_virtual_clock() -> None:
    loop = VirtualLoop(at=100.0)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(50)
        return loop.time()

    assert run(loop, main()) == 105.0


def test_work_for_a_thread_is_done_here_and_its_error_is_told() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(lambda: 1 + 1) == 2
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)

    run(VirtualLoop(), main())


def test_nothing_runs_after_the_step_before_which_the_process_dies() -> None:
    async def walk(seen: list[int]) -> None:
        for step in range(10):
            seen.append(step)
            await asyncio.sleep(0)

    whole: list[int] = []
    loop = VirtualLoop()
    run(loop, walk(whole))
    for crash_before in range(loop.steps):
        seen: list[int] = []
        dying = VirtualLoop(crash_before=crash_before)
        task = dying.create_task(walk(seen))
        with pytest.raises(Crash):
            dying.run_until_complete(task)
        assert seen == whole[:crash_before]
        dying.crash_before = None
        run(dying, task)


def test_a_wait_for_what_can_never_happen_is_an_error_and_not_a_silence() -> None:
    loop = VirtualLoop()
    never = loop.create_future()

    with pytest.raises(RuntimeError, match="nothing will ever happen"):
        run(loop, never)


def test_a_wait_that_is_lost_in_rounding_still_ends() -> None:
    loop = VirtualLoop(at=1e9)

    async def main() -> float:
        await asyncio.sleep(1e-12)
        return loop.time()

    assert run(loop, main()) > 1e9  # type: ignore[operator]


def test_a_task_that_fails_unheard_is_remembered() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(0)

    run(loop, main())

    assert "ZeroDivisionError" in loop.faults[0]
