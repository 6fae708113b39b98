"""The worker takes what is in the queue, whoever put it there, and goes on where the last one stopped.

Method: whole gateways, one after another, on each database.
"""

from pathlib import Path

from tests.contract.batches import COST, OPENING, PATH, ended, good, left, made, over, results, sdk
from tests.contract.riders import until
from tests.gateway import running
from tests.store.books import place
from tests.store.raw import raw_on


async def test_a_batch_goes_on_after_a_restart_and_each_request_is_billed_once(folder: Path) -> None:
    names = [f"r{number}" for number in range(40)]
    async with running(folder, script=good, toml="[batches]\nconcurrency = 2") as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *names))["id"]
        await until(lambda: len(gate.upstream.log) >= 5)
        await gate.running.worker.close(60)
        first = len(gate.upstream.log)
        assert 5 <= first < 40
        assert (await gate.books())[0] == OPENING - first * COST
    async with running(folder, script=good) as gate, sdk(gate, key) as client:
        found = await ended(client, batch_id)
        lines = await results(client, batch_id)

        assert found.request_counts.succeeded == 40 and set(lines) == set(names)
        assert first + len(gate.upstream.log) == 40
        assert await gate.books() == (OPENING - 40 * COST, 0)


async def test_what_was_made_is_held_over_a_restart_before_any_of_it_has_run(folder: Path) -> None:
    async with left(folder) as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(10))))["id"]
        held = (await gate.books())[1]
    async with left(folder) as gate:
        assert await gate.books() == (OPENING, held)
        assert gate.running.store.swept.charges == 0
    async with running(folder, script=good) as gate:
        assert (await over(gate, key, batch_id))["request_counts"]["succeeded"] == 10
        assert await gate.books() == (OPENING - 10 * COST, 0)


async def test_what_is_running_when_its_batch_is_canceled_ends_and_is_billed(folder: Path) -> None:
    async with running(folder, script=good, toml="[batches]\nconcurrency = 1") as gate:
        key = await gate.key()
        batch_id = (await made(gate, key, *(f"r{number}" for number in range(30))))["id"]
        await until(lambda: bool(gate.upstream.log))
        await gate.post(f"{PATH}/{batch_id}/cancel", key, b"")
        counts = (await over(gate, key, batch_id))["request_counts"]

        assert counts["succeeded"] == len(gate.upstream.log) >= 1
        assert counts["succeeded"] + counts["canceled"] == 30
        assert await gate.books() == (OPENING - counts["succeeded"] * COST, 0)


async def test_wallets_take_turns_and_of_each_its_batches_however_few_run_at_once(folder: Path) -> None:
    async with left(folder) as gate:
        large, small = await gate.key(), await gate.key("other")
        last = (await made(gate, large, *(f"r{number}" for number in range(5)), max_tokens=11))["id"]
        await made(gate, large, "a", max_tokens=12)
        await made(gate, small, "a", "b", "c", max_tokens=13)
    async with running(folder, script=good, toml="[batches]\nconcurrency = 1") as gate:
        await over(gate, large, last)

        assert [seen.document["max_tokens"] for seen in gate.upstream.log] == [11, 13, 12, 13, 11, 13, 11, 11, 11]


async def test_a_wallet_that_a_neighbour_does_not_let_go_keeps_no_other_waiting(database: Path) -> None:
    async with left(database) as gate:
        first, stuck, other = await gate.key(), await gate.key("stuck"), await gate.key("other")
        await made(gate, first, "a")
        locked = (await made(gate, stuck, "a", "b"))["id"]
        free = (await made(gate, other, "a", "b"))["id"]
    raw = raw_on(place(database))
    wallet_id = raw.one(f"SELECT wallet_id FROM batch WHERE id = '{locked}'")
    raw.connection.execute("BEGIN")
    raw.connection.execute(f"SELECT 1 FROM account WHERE id = '{wallet_id}' FOR NO KEY UPDATE")
    async with running(database, script=good, toml="[batches]\nconcurrency = 1") as gate:
        assert (await over(gate, other, free))["request_counts"]["succeeded"] == 2
        raw.connection.execute("ROLLBACK")
        assert (await over(gate, stuck, locked))["request_counts"]["succeeded"] == 2
    raw.close()
