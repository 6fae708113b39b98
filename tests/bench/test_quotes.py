"""The replay of `make bench-quote`, short: its bars hold here too, and it tells when one does not.

Method: two thousand calls from a seed through the road without sockets, counted by the made-up tokenizer; figures
written by hand for the verdict.
"""

from typing import Any

import pytest

from bench.quotes.__main__ import main, metric_bars
from bench.quotes.figures import Figures, Sample
from bench.quotes.replay import Replay
from bench.quotes.tokenizers import Dense, Vocabulary
from bench.quotes.truth import Truth
from faregate.telemetry import Telemetry
from faregate.upstreams.local_weights import ModelFailure, find_model

PERFECT = Sample(
    door="by hand", habit="short", turn=21, seen=True, ceiling=100, cost=100, estimated=100, input_cost=50,
    input_estimated=50, tokens=200, tokens_estimated=200,
)  # fmt: skip


def test_a_short_replay_holds_every_bar() -> None:
    figures, telemetry = Figures(), Telemetry()
    figures.samples += Replay([Dense()], seed=7, requests=2_000, telemetry=telemetry).run(lambda done: None)
    bars = [*figures.bars(), *metric_bars("replay", telemetry.render().decode())]

    assert len(bars) == 6
    assert [bar for bar in bars if not bar.good] == []


def test_the_same_seed_replays_the_same_traffic() -> None:
    first, second = (
        [*Replay([Dense()], seed=3, requests=60, telemetry=Telemetry()).run(lambda done: None)] for _ in range(2)
    )

    assert first == second


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ceiling": 99}, "charges above the ceiling"),
        ({"estimated": 94}, "by hand: median error of the charge"),
        ({"input_estimated": 51}, "by hand: of the input's cost, prefix seen before"),
        ({"tokens_estimated": 203}, "by hand: of the input tokens, prefix seen before"),
    ],
)
def test_a_bar_that_is_broken_is_told_by_its_name(change: dict[str, Any], name: str) -> None:
    figures = Figures()
    figures.samples = [PERFECT._replace(**change)]

    assert [bar.name for bar in figures.bars() if not bar.good] == [name]


def test_the_first_calls_of_a_key_are_not_judged_by_their_charge() -> None:
    figures = Figures()
    figures.samples = [PERFECT._replace(turn=20, estimated=1)]

    assert all(bar.good for bar in figures.bars())


@pytest.mark.parametrize("arguments", [["--requests", "0"], ["--requests", "-5"], ["--local", "-1"]])
def test_arguments_that_make_no_sense_end_in_a_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "should be from 1" in capsys.readouterr().err or "--local" in arguments


def test_the_two_tokenizers_cut_differently() -> None:
    try:
        vocabulary = Vocabulary(find_model(None))
    except ModelFailure as failure:
        pytest.skip(str(failure))
    dense = Dense()

    assert (vocabulary.count("Hello world"), dense.count("Hello world")) == (2, 3)
    assert dense.count("中文") == 3
    assert vocabulary.count('{"id": 12345}') != dense.count('{"id": 12345}')


def test_what_was_marked_is_written_then_read_then_forgotten() -> None:
    truth = Truth(Dense())
    block = {"type": "text", "text": "word " * 2_000, "cache_control": {"type": "ephemeral"}}
    document = {"model": "m", "messages": [{"role": "user", "content": [block]}]}
    usages = [truth.usage(document, "tenant", now_ms) for now_ms in (0, 299_999, 900_000)]

    assert [usage["cache_creation_input_tokens"] > 0 for usage in usages] == [True, False, True]
    assert [usage["cache_read_input_tokens"] > 0 for usage in usages] == [False, True, False]
    assert len({sum(usage[name] for name in usage if name.endswith("input_tokens")) for usage in usages}) == 1
