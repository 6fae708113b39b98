"""What an upstream costs is the operator's to know: shown to them per call, and to no caller.

Method: a whole gateway with costs in its settings.
"""

from pathlib import Path

from faregate.edge import desk, forms
from faregate.upstreams.script import End, Play, failure, plain, stream
from tests.contract.riders import message
from tests.gateway import MODEL, running

GOOD = message(input_tokens=5, output_tokens=3)


async def test_the_operator_is_shown_what_a_call_cost_and_its_caller_is_not(tmp_path: Path) -> None:
    toml = '[[costs]]\nupstream = "fake"\nshare = "0.8"\n'
    script = [plain(GOOD), stream(GOOD), failure(400, "x", "no")]
    async with running(tmp_path, script=script, toml=toml) as gate:
        key = await gate.key()
        answer = await gate.message(key)
        await gate.stream(key)
        await gate.message(key)
        page = await desk.usage(gate.running.desk, desk.Asked(form=forms.UsageAsked()))
        refused, whole_stream, whole = page.calls

        assert (whole.upstream, whole.charged, whole.cost, whole.margin) == ("fake", "20", "16", "4")
        assert (whole_stream.cost, whole_stream.margin) == ("16", "4")
        assert (refused.upstream, refused.cost) == (None, None)
        assert (
            f'faregate_upstream_cost_credits_total{{model="{MODEL}",upstream="fake"}} 32.0'
            in (await gate.get("/metrics")).text
        )
        for receipt in await gate.receipts(key):
            assert not {"upstream", "cost", "margin"} & set(receipt)
        assert "fake" not in answer.text + str(answer.headers)


async def test_without_costs_none_is_shown(tmp_path: Path) -> None:
    async with running(tmp_path, script=[Play(ending=End.REFUSE), plain(GOOD)]) as gate:
        await gate.message(await gate.key())
        (call,) = (await desk.usage(gate.running.desk, desk.Asked(form=forms.UsageAsked()))).calls
        assert (call.upstream, call.cost, call.margin) == ("fake", None, None)
        assert "upstream_cost" not in (await gate.get("/metrics")).text
