"""Replay traffic against the quote, and hold it to its bars.

    python -m bench.quotes [--requests N] [--seed S] [--http N] [--local N]

Prints one table and a verdict; ends with 1 when a bar fails, here or in the metrics. `--requests` calls go through the
road without sockets, for each of them an upstream's count by one of two tokenizers; `--http` through a running gateway
to a scripted upstream, `--local` to the embedded model.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from bench.quotes import wire
from bench.quotes.figures import CHARGE_BAR, PREFIX_BAR, TOKENS_ONLY, Bar, Figures
from bench.quotes.replay import Replay
from bench.quotes.tokenizers import Dense, Tokenizer, Vocabulary
from faregate.telemetry import Telemetry
from faregate.upstreams.local_weights import ModelFailure, find_model

REQUESTS_MAX: Final = 10_000_000


def main(arguments: list[str] | None = None) -> int:
    """Run it all; the exit status."""
    options = _options(arguments)
    figures, telemetry = Figures(), Telemetry()
    tokenizers: list[Tokenizer] = [Dense()]
    missing = ""
    try:
        tokenizers.insert(0, Vocabulary(find_model(None)))
    except ModelFailure as failure:
        missing = f"without the offline model: {failure}"
        print(missing, file=sys.stderr)
    began = time.monotonic()
    replay = Replay(tokenizers, seed=options.seed, requests=options.requests, telemetry=telemetry)
    figures.samples += replay.run(_progress("replay", options.requests))
    took = time.monotonic() - began
    scraped = [("replay", telemetry.render().decode())]
    if options.http:
        scraped.append(_asked(wire.scripted, "http scripted", figures, options.http, options.seed))
    if options.local and not missing:
        scraped.append(_asked(wire.local, "http local", figures, options.local, options.seed))
    print("\n".join(figures.rows()))
    bars = [*figures.bars(), *(bar for door, text in scraped for bar in metric_bars(door, text))]
    for bar in bars:
        value, limit = (f"{bar.value:.0f}", f"{bar.limit:.0f}") if not bar.limit else (
            f"{bar.value * 100:.2f} %", f"{bar.limit * 100:.0f} %"
        )  # fmt: skip
        print(f"{'ok  ' if bar.good else 'FAIL'}  {bar.name}: {value} (at most {limit})")
    good = all(bar.good for bar in bars)
    print(
        f"bench-quote: {'ok' if good else 'FAILED'}; {len(figures.samples):,} calls, seed {options.seed}, "
        f"{took:.0f} s of replay{'; ' + missing if missing else ''}"
    )
    return 0 if good else 1


def metric_bars(door: str, exposition: str) -> list[Bar]:
    """The same medians, as whoever scrapes /metrics reads them: the bound below which half of the calls are."""
    found = []
    for name, labels, limit in (
        ("the charge", {"of": "charge"}, CHARGE_BAR),
        ("the input, prefix known", {"of": "input", "prefix": "known"}, PREFIX_BAR),
    ):
        buckets: dict[float, float] = {}
        for text, value in re.findall(r"^faregate_estimate_error_bucket\{(.*)\} (\S+)$", exposition, re.MULTILINE):
            told = dict(re.findall(r'(\w+)="([^"]*)"', text))
            if labels.items() <= told.items():
                bound = float(told["le"])
                buckets[bound] = buckets.get(bound, 0) + float(value)
        calls = buckets.get(float("inf"), 0)
        if calls and not (labels["of"] == "input" and door in TOKENS_ONLY):
            median = min(bound for bound, below in buckets.items() if below >= calls / 2)
            found.append(Bar(f"/metrics of {door}: median error of {name}", median, limit))
    return found


def _asked(
    ask: Callable[..., Coroutine[None, None, wire.Asked]], door: str, figures: Figures, requests: int, seed: int
) -> tuple[str, str]:
    """Ask over HTTP; what /metrics said in the end."""
    with tempfile.TemporaryDirectory() as folder:
        run = ask(Path(folder), requests=requests, seed=seed, progress=_progress(door, requests))
        samples, exposition = asyncio.run(run)
    figures.samples += samples
    return door, exposition


def _progress(door: str, requests: int) -> Callable[[int], None]:
    def told(done: int) -> None:
        print(f"{door}: {done:,} of {requests:,}", file=sys.stderr, flush=True)

    return told


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.quotes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--http", type=int, default=2_000, help="calls over HTTP to a scripted upstream; 0 for none")
    parser.add_argument("--local", type=int, default=60, help="calls over HTTP to the embedded model; 0 for none")
    options = parser.parse_args(arguments)
    if not 1 <= options.requests <= REQUESTS_MAX:
        parser.error(f"REQUESTS is {options.requests}, and should be from 1 to {REQUESTS_MAX:,}")
    if options.http < 0 or options.local < 0:
        parser.error("--http and --local are 0 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
