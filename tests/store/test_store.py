"""Opening and closing: what is wrong is one clear sentence, and changes nothing; what was kept is there again."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from faregate.core.errors import NotReady
from faregate.core.money import Nanos
from faregate.store.database import StoreRefused
from faregate.store.store import Store, wall_clock
from tests.store.books import KEY, PEPPER, PRICE, SECRET, WALLET, fund, funds, message, opening, reserve, settle

HOLDER = """
import asyncio, sys
from pathlib import Path
from faregate.store.store import Store

async def main():
    async with Store.open(Path(sys.argv[1]), pepper=b"p" * 32):
        print("open", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


async def hold(path: Path) -> asyncio.subprocess.Process:
    """Another process that owns the file until its stdin ends."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    return holder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(StoreRefused) as refused:
        async with opening(folder, **options):
            raise AssertionError("it was opened")
    return str(refused.value)


async def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        assert store.incarnation == 1
        await fund(store, 1_000_000)
        await store.ledger.reserve(reserve(1))
        await store.ledger.settle(settle(1))
    async with opening(tmp_path) as store:
        assert store.incarnation == 2
        assert await funds(store) == (850_000, 0)
        assert await store.keys.find(SECRET) is not None
        assert await store.records.receipt(WALLET, message(1)) is not None
        assert store.prices.versions() == [PRICE]
        with pytest.raises(StoreRefused):  # ours, in the same process
            async with opening(tmp_path):
                pass


async def test_a_second_process_is_refused_by_the_first_ones_number(tmp_path: Path) -> None:
    path = tmp_path / "faregate.db"
    holder = await hold(path)
    sentence = await refusal(tmp_path)
    assert f"process {holder.pid}" in sentence and str(path) in sentence
    await holder.communicate(b"")
    async with opening(tmp_path) as store:
        assert store.incarnation == 2


async def test_a_killed_process_leaves_the_file_free(tmp_path: Path) -> None:
    path = tmp_path / "faregate.db"
    holder = await hold(path)
    holder.kill()
    await holder.communicate(b"")
    async with opening(tmp_path) as store:
        assert store.incarnation == 2


async def test_a_database_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path) -> None:
    async with opening(tmp_path):
        pass
    path = tmp_path / "faregate.db"
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '9999' WHERE name = 'schema_version'")
    connection.commit()
    before = list(connection.iterdump())
    connection.close()

    assert "9999" in await refusal(tmp_path)
    with pytest.raises(StoreRefused, match="9999"):
        async with Store.open_to_read(path):
            pass
    connection = sqlite3.connect(path)
    assert list(connection.iterdump()) == before
    connection.close()


async def test_a_database_of_someone_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "faregate.db")
    connection.execute("CREATE TABLE recipes(name TEXT)")
    connection.close()

    assert "not one of Faregate's" in await refusal(tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "faregate.db"
    file.write_bytes(b"Dear diary, " * 1_000)

    assert "not an SQLite database" in await refusal(tmp_path)
    assert file.read_bytes() == b"Dear diary, " * 1_000


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
    path = tmp_path / "faregate.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:2_048] + b"\xff" * (len(whole) - 2_048))

    assert "is damaged" in await refusal(tmp_path)


async def test_damage_where_nobody_looks_is_found_at_the_start(tmp_path: Path) -> None:
    async with opening(tmp_path) as store:
        await fund(store, 1_000)
    path = tmp_path / "faregate.db"
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'transfer_wallet'").fetchone()
    connection.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: (page - 1) * 2_048] + b"\xff" * 2_048 + whole[page * 2_048 :])

    assert "is damaged" in await refusal(tmp_path)


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert f"Cannot write in {tmp_path}/nowhere" in await refusal(tmp_path / "nowhere")


async def test_another_pepper_is_refused_rather_than_all_keys_unknown(tmp_path: Path) -> None:
    async with opening(tmp_path):
        pass

    assert "pepper" in await refusal(tmp_path, pepper=b"q" * 32)
    assert "32 bytes" in await refusal(tmp_path, pepper=b"short")
    async with opening(tmp_path) as store:
        assert store.incarnation == 2  # what was refused has left no trace


async def test_a_shipped_price_that_was_edited_is_refused(tmp_path: Path) -> None:
    async with opening(tmp_path):
        pass
    edited = type(PRICE)(**{**{name: getattr(PRICE, name) for name in PRICE.__struct_fields__}, "input": Nanos(1_001)})

    assert PRICE.id in await refusal(tmp_path, prices=[edited])


async def test_readers_work_beside_the_owner_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "faregate.db"
    async with opening(tmp_path) as owner:
        await fund(owner, 1_000)
        async with Store.open_to_read(path) as store:
            assert [wallet.posted for wallet in await store.office.wallets()] == [1_000]
            assert [key.id for key in await store.office.keys(None)] == [KEY]
            assert store.prices.versions() == [PRICE]
            assert [finding for finding in await store.office.audit() if finding.count] == []
            assert not await store.records.writable()
            with pytest.raises(NotReady):
                await store.office.topup(WALLET, Nanos(5), note=None, reference="r", at_ms=0)
        assert await funds(owner) == (1_000, 0)
    async with Store.open_to_read(path) as store:  # and when nobody owns it
        assert (await store.office.wallet_find("main")).posted == 1_000


async def test_there_is_nothing_to_read_before_the_first_start(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no database at"):
        async with Store.open_to_read(tmp_path / "faregate.db"):
            pass
    assert names(tmp_path) == []
    sqlite3.connect(tmp_path / "faregate.db").execute("PRAGMA user_version = 1").connection.close()
    with pytest.raises(StoreRefused, match="is empty"):
        async with Store.open_to_read(tmp_path / "faregate.db"):
            pass


async def test_an_error_inside_still_closes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        async with opening(tmp_path):
            raise RuntimeError
    async with opening(tmp_path, pepper=PEPPER) as store:
        assert store.incarnation == 2


def test_the_clock_is_of_this_century() -> None:
    assert 1_700_000_000_000 < wall_clock() < 4_000_000_000_000
