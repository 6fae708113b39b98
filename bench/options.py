"""The command line: what can be measured, and how much of it."""

import argparse
from collections.abc import Callable, Iterable
from typing import TypeAlias

from bench.loads import LOADS
from bench.stage import MAKERS

FAREGATES = [name for name in MAKERS if name.startswith("faregate")]


def positive(text: str) -> int:
    """A count of at least one."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count: a whole number from 1 on")
    return int(text)


def count(text: str) -> int:
    """A count, or none."""
    return 0 if text == "0" else positive(text)


def among(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A list of known names, divided by commas."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


def parser(description: str) -> argparse.ArgumentParser:
    """Of the whole command line."""
    plain = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(prog="python -m bench", description=description, formatter_class=plain)
    kinds = made.add_subparsers(dest="kind", required=True, metavar="WHAT")
    for add in (_calls, _solo, _streams, _stalled, _growth, _appraise):
        add(kinds)
    for kind in kinds.choices.values():
        kind.add_argument("--write", action="store_true", help="put the tables into bench/RESULTS.md and draw them")
    return made


Kinds: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _calls(kinds: Kinds) -> None:
    kind = kinds.add_parser("calls", help="what a call costs at each door, side by side; when nothing is said, this")
    _number(kind, "--requests", 4_000, "plain calls at a door in a round; other loads get a part of it")
    _number(kind, "--concurrency", 32, "callers")
    _number(kind, "--rounds", 3, "of all loads at all doors")
    _number(kind, "--seconds-max", 60, "for a load at a door in a round")
    kind.add_argument("--streams", type=count, default=500, help="open at once for their memory; 0: none (%(default)s)")
    kind.add_argument("--tls", action="store_true", help="upstream speaks TLS")
    _doors(kind, list(MAKERS))
    kind.add_argument("--loads", type=among(LOADS), default=list(LOADS), metavar="NAME,...", help=", ".join(LOADS))


def _solo(kinds: Kinds) -> None:
    kind = kinds.add_parser(
        "solo", help="what a gateway adds to the call of a single caller, and the disk's part of it"
    )
    _number(kind, "--requests", 500, "calls at a door in a round")
    _number(kind, "--rounds", 3, "of all doors")
    _doors(kind, ["nginx", "rolter", *FAREGATES])


def _streams(kinds: Kinds) -> None:
    kind = kinds.add_parser("streams", help="many streams at once through a gateway that has one core")
    _number(kind, "--streams", 2_000, "at once")
    _number(kind, "--rate", 5, "events a second of each")
    _number(kind, "--seconds", 20, "of each")
    _number(kind, "--ramp", 4, "seconds in which they begin")
    _doors(kind, FAREGATES[:1])


def _stalled(kinds: Kinds) -> None:
    kind = kinds.add_parser("stalled", help="readers who stall: what they hold, and whether others notice")
    _number(kind, "--readers", 500, "who stall")
    _number(kind, "--seconds", 10, "of the streams beside them; from 60 on a gateway may hang up on who stalls")
    _doors(kind, FAREGATES[:1])


def _growth(kinds: Kinds) -> None:
    kind = kinds.add_parser("growth", help="whether a call costs more in a ledger that has grown")
    _number(kind, "--receipts", 1_000_000, "in the one that has many")
    _number(kind, "--keys", 100_000, "in the one that has many")
    _number(kind, "--prices", 1_000, "versions in the one that has many")
    _number(kind, "--requests", 4_000, "calls at each in a round")
    _number(kind, "--concurrency", 32, "callers")
    _number(kind, "--rounds", 3, "of all ledgers")


def _appraise(kinds: Kinds) -> None:
    kind = kinds.add_parser("appraise", help="what it costs to read, judge and quote a request")
    _number(kind, "--runs", 200, "of each request")


def _number(kind: argparse.ArgumentParser, name: str, default: int, what: str) -> None:
    kind.add_argument(name, type=positive, default=default, metavar="N", help=f"{what} (%(default)s)")


def _doors(kind: argparse.ArgumentParser, default: list[str]) -> None:
    names = f"of: {', '.join(MAKERS)} ({', '.join(default)})"
    kind.add_argument("--doors", type=among(MAKERS), default=default, metavar="NAME,...", help=names)
