"""What is asked of the ledger for a batch can be written out and read back, as every command can."""

import msgspec

from faregate.core.batch_commands import Again, Ticket
from faregate.core.money import Nanos


def test_a_command_is_the_same_when_it_is_read_back() -> None:
    ticket = Ticket(
        wallet_id="w", batch_id="b", number=0, charge_id="m", key_id="k", request_id="r", version="v", beta=None,
        price_id="p", params=b"{}", held=Nanos(5), estimated=Nanos(3), tries=1, crashes=0, wasted=Nanos(2),
    )  # fmt: skip
    again = Again(ticket=ticket, again_at_ms=7, tries=2, crashes=1, wasted=Nanos(9))

    assert msgspec.json.decode(msgspec.json.encode(again), type=Again) == again
