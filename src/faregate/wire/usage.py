"""What a message used, in disjoint classes, as it is billed.

Upstream's `input_tokens` is the uncached input only; writes and reads of the cache stand beside it, never in it.
"""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts, each >= 0. Their products with a price version's columns add up to the cost."""

    input: int = 0
    """Uncached input tokens."""
    output: int = 0
    """Generated tokens, thinking included."""
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def input_total(self) -> int:
        """Every token that went in, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


NOTHING = Usage()
