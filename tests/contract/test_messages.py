"""CONTRACT 2 and 4: a call over a real socket, quoted before, billed once, and told exactly."""

from pathlib import Path

from tests.gateway import ask, running


async def test_a_plain_call_is_answered_billed_and_receipted(tmp_path: Path) -> None:
    async with running(tmp_path) as gate:
        key = await gate.key()
        answer = await gate.message(key)
        print(answer.status_code, answer.headers, answer.text)
        s = await gate.stream(key, ask())
        print(s.headers, s.body.decode())
        print(await gate.receipts(key), await gate.books())
        assert answer.status_code == 200
