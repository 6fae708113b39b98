"""Was anybody ever below the floor? Each account's moves are played again in their order.

One rule: it speaks only of what is sure. Rows number an account's holds, and its transfers, but not both together; they
meet where a charge ends, since its transfer is of the commit that frees its hold.

    hold 1  hold 2  free 1 + settle  hold 3  free 2 + settle
        top-up somewhere here -> taken as first;  a debit by hand -> taken as last
"""

import collections
from collections.abc import Iterator

from tests.faults.books import Account, Books, Hold, Key, Transfer


def floors(books: Books) -> Iterator[str]:
    """Every account that was below its floor at some instant, or whose moves do not follow each other."""
    holds = collections.defaultdict[Key, list[Hold]](list)
    transfers = collections.defaultdict[Key, list[Transfer]](list)
    for hold in books.holds:
        holds[hold.wallet_id, hold.account_id].append(hold)
    for transfer in books.transfers:
        for side in {transfer.debit_id, transfer.credit_id}:
            transfers[transfer.wallet_id, side].append(transfer)
    for account in books.accounts:
        key = account.wallet_id, account.id
        if account.floor is not None:
            yield from _numbers(account, holds[key])
            yield from _depth(account, account.floor, _steps(account, _moves(holds[key]), transfers[key]))


Move = tuple[int, Hold, bool]
"""Its number, its hold, and whether the hold was taken or freed by it."""


def _moves(holds: list[Hold]) -> list[Move]:
    freed = [(hold.closed, hold, False) for hold in holds if hold.closed is not None]
    return sorted([*((hold.seq, hold, True) for hold in holds), *freed], key=lambda move: move[0])


def _numbers(account: Account, holds: list[Hold]) -> Iterator[str]:
    numbers = [number for number, _, _ in _moves(holds)]
    if numbers != list(range(1, account.moves + 1)):
        odd = sorted(set(range(1, account.moves + 1)) ^ set(numbers)) or "some twice"
        yield f"account {account.id} counts {account.moves} moves, its holds {len(numbers)}; at odds: {odd}"


def _depth(account: Account, floor: int, steps: Iterator[tuple[int, str]]) -> Iterator[str]:
    balance = 0
    for change, what in steps:
        balance += change
        if balance < floor:
            yield f"account {account.id} was at {balance}, below its floor of {floor}, at {what}"
            return


def _steps(account: Account, moves: list[Move], transfers: list[Transfer]) -> Iterator[tuple[int, str]]:
    """How far the balance goes at each instant, stretch by stretch; a stretch ends where a charge is paid."""
    paid = {transfer.charge_id: transfer for transfer in transfers if transfer.charge_id is not None}
    loose = collections.deque(transfer for transfer in transfers if transfer.charge_id is None)
    stretch: list[tuple[int, str]] = []
    for number, hold, taken in moves:
        end = None if taken else paid.get(hold.charge_id)
        change = -hold.amount if taken else hold.amount
        stretch.append((change + (_change(account, end) if end else 0), f"move {number} ({hold.charge_id})"))
        if end:
            yield from _stretch(account, stretch, loose, end.id)
            stretch = []
    yield from _stretch(account, stretch, loose, None)


def _stretch(
    account: Account, moves: list[tuple[int, str]], loose: collections.deque[Transfer], end: int | None
) -> Iterator[tuple[int, str]]:
    last: list[tuple[int, str]] = []
    while loose and (end is None or loose[0].id < end):
        transfer = loose.popleft()
        change, what = _change(account, transfer), f"transfer {transfer.id}"
        if change > 0:
            yield change, what
        else:
            last.append((change, what))
    yield from moves
    yield from last


def _change(account: Account, transfer: Transfer) -> int:
    return transfer.amount if transfer.credit_id == account.id else -transfer.amount
