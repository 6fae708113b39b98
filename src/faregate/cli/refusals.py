"""What ends a command early: an exception in, an exit code and one line out.

The rule: 2 where something stands in the way of starting and nothing was changed, 1 where what was asked was refused.
An exception that is neither is our bug, and goes on as it is, with its trace.
"""

from typing import Final

REFUSED: Final = 1
CANNOT_START: Final = 2


class Failed(Exception):
    """What was asked was refused; the message is one line."""


class Unsure(Failed):
    """What was asked failed without a refusal, so it may have been done."""


def explain(error: Exception) -> tuple[int, str]:
    """Give the exit code and the line; raise the error again when it is not one that a command may end with."""
    # Imported late: a command that goes well pays for none of them.
    from faregate.core.catalog import CatalogError  # noqa: PLC0415
    from faregate.core.errors import GatewayError  # noqa: PLC0415
    from faregate.edge.listen import Busy  # noqa: PLC0415
    from faregate.settings import SettingsError  # noqa: PLC0415
    from faregate.store.database import StoreRefused  # noqa: PLC0415
    from faregate.upstreams.port import CannotStart  # noqa: PLC0415

    if isinstance(error, Failed):
        return REFUSED, str(error)
    if isinstance(error, GatewayError):
        return REFUSED, error.message
    if isinstance(error, CatalogError):
        first, *more = str(error).splitlines()
        rest = f" (and {len(more)} more: `faregate catalog check` lists them)" if more else ""
        return CANNOT_START, first + rest
    if isinstance(error, SettingsError | StoreRefused | Busy | CannotStart):
        return CANNOT_START, " ".join(str(error).splitlines())
    raise error
