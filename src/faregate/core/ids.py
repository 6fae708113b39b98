"""Ids that sort by time: a prefix and 26 characters of Crockford's base 32 (a ULID).

The time and the chance come in as arguments, so a replay mints the same ids.

    msg_01KA8Z4J0S7QG0N3T1V5Y9XE2C      a charge, and the message whose id it is
    req_...                             a request;  wal_... a wallet
"""

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CHANCE_BITS: Final = 80
ULID_CHARS: Final = 26

_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
_PAIR_SHIFTS: Final = tuple(range(120, -1, -10))


def ulid(now_ms: int, chance: int) -> str:
    """26 characters: 48 bits of Unix milliseconds, then 80 bits of chance."""
    assert 0 <= now_ms < 1 << 48 and 0 <= chance < 1 << CHANCE_BITS
    number = now_ms << CHANCE_BITS | chance
    pairs = _PAIRS
    return "".join([pairs[number >> shift & 1023] for shift in _PAIR_SHIFTS])


def made_at_ms(written: str) -> int:
    """The Unix milliseconds in an id with its prefix; 0 for what is none of ours."""
    time = written.rpartition("_")[2][:10]
    if len(time) < 10 or not set(time) <= set(ALPHABET):
        return 0
    number = 0
    for character in time:
        number = number << 5 | ALPHABET.index(character)
    return number
