"""Long runs of the state machine (rules.py) on both databases.

    python -m tests.store.machine --steps 100000 --seed 1

Exit 0 when every invariant held, 1 when one broke (the shortest example is shown), 2 for bad input or no server. A step
is one rule with all invariants behind it. PostgreSQL, where a step takes some ten times as long, gets one in five.
"""

import argparse
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import postgres
from tests.store.rules import Books, OnSqlite, on_postgres

LENGTH = 50
"""Steps of one life, at the most."""
LIVES = 50
"""Of one round: then it says how far it is, and goes on with the next seed."""
POSTGRES_SHARE = 5

SETTINGS = settings(
    stateful_step_count=LENGTH,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store.machine", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=positive, required=True, help="how many, on both databases together")
    parser.add_argument("--seed", type=positive, default=1, help="what everything is drawn from (default: 1)")
    asked = parser.parse_args(arguments)
    try:
        url = postgres.migrated_database()
    except (RuntimeError, OSError) as error:
        tell(f"state-machine: {error}")
        return 2
    began = time.monotonic()
    there = asked.steps // POSTGRES_SHARE
    try:
        with on_postgres(url) as on_server:
            ran = (
                run(on_server, there, asked.seed, "PostgreSQL"),
                run(OnSqlite, asked.steps - there, asked.seed, "SQLite"),
            )
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    except BaseException:
        traceback.print_exc()
        print(f"state-machine: an invariant broke; again with --steps {asked.steps} --seed {asked.seed}")  # noqa: T201
        return 1
    finally:
        postgres.drop(url)
    took = time.monotonic() - began
    print(  # noqa: T201
        f"state-machine: {sum(ran):,} steps ({ran[1]:,} on SQLite, {ran[0]:,} on PostgreSQL), no invariant broken, "
        f"seed {asked.seed}, {took:.0f} s"
    )
    return 0


def run(machine: type[Books], steps: int, first_seed: int, where: str) -> int:
    """At least so many steps, and how many they were."""
    machine.steps, number = 0, 0
    while machine.steps < steps:
        # Each round has a seed of its own, so that a run is the beginning of a longer one.
        lives = min(LIVES, -(-(steps - machine.steps) // LENGTH))
        here = settings(SETTINGS, max_examples=lives)
        run_state_machine_as_test(seed(first_seed * 1_000_003 + number)(machine), settings=here)
        number += 1
        tell(f"{where}: {machine.steps:,} of {steps:,} steps")
    return machine.steps


def positive(text: str) -> int:
    """A count of at least one."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: a whole number from 1 on")
    return int(text)


def tell(text: str) -> None:
    """Progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
