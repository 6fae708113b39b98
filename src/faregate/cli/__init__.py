"""The command line: `faregate`.

    serve                                   the gateway itself (app.py)
    wallet, key, usage, price, audit        calls to the admin API (door.py)
    catalog, doctor, migrate                what can be known or done without a server

The rule: a command does nothing of its own with money. It asks the admin API, over the owner's socket when a server
runs and in its own process when none does, and shows the answer. Exit code 0 is done, 1 is refused, 2 is cannot start:
one line on standard error says which, and after a 2 nothing was changed.
"""

import os
import sys
from collections.abc import Sequence

from faregate.cli.refusals import explain


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, and exit."""
    from faregate.cli.commands import commands  # noqa: PLC0415  # building them is work, and an import does none

    try:
        try:
            commands()(args=arguments, prog_name="faregate")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): there is nobody to tell, and nothing to write at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        code, line = explain(error)
        sys.stderr.write(f"faregate: {line}\n")
        sys.exit(code)
