"""Upstream, in the harness's own process: it plays each call's plan and keeps a log of what it served.

One rule: what it served is judged by what it wrote to the socket, and by nothing that the gateway says.
"""

from faregate.upstreams.script import Play, Seen, failure
from faregate.upstreams.scripted_server import ScriptedServer
from tests.faults.checker import UpstreamCall
from tests.faults.plans import MARKER, Plan


class Upstream:
    """Start it, give `base_url` to the gateway, and tell it of each plan before that is asked."""

    def __init__(self) -> None:
        self._server = ScriptedServer(self._play, seen_max=1)
        self._plans: dict[str, Plan] = {}
        self._served: list[tuple[Seen, Plan, int]] = []
        self._asked: dict[str, int] = {}
        self.unknown: list[str] = []
        """Requests that nobody planned."""

    async def start(self) -> str:
        await self._server.start()
        return self._server.base_url

    async def stop(self) -> None:
        await self._server.stop()

    def expect(self, plan: Plan) -> None:
        self._plans[plan.marker] = plan

    def log(self) -> list[UpstreamCall]:
        """What was served so far, a row for each request."""
        return [_row(seen, plan, attempt) for seen, plan, attempt in self._served]

    def _play(self, seen: Seen) -> Play:
        found = MARKER.search(seen.body)
        plan = self._plans.get(found[0].decode()) if found else None
        if plan is None:
            self.unknown.append(f"upstream was asked for what nobody sent: {seen.method} {seen.path}")
            return failure(404, "not_found_error", "nobody planned this")
        attempt = min(self._asked.get(plan.marker, 0), len(plan.plays) - 1)
        self._asked[plan.marker] = attempt + 1
        self._served.append((seen, plan, attempt))
        return plan.plays[attempt]


def _row(seen: Seen, plan: Plan, attempt: int) -> UpstreamCall:
    play = plan.plays[attempt]
    # Whether the gateway took all of it before it died, only the gateway knew: it was there to be taken.
    finished = seen.frames_written >= len(play.pieces) and attempt == plan.whole
    began = seen.frames_written > 0
    return UpstreamCall(plan.marker, play.status if began else 0, finished, plan.usage if play.status == 200 else None)
