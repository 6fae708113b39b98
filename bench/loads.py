"""The loads: what the callers ask for, and how often.

plain    a plain answer                  burst    60 events in one burst
paced    60 events 20 ms apart           held     streams that are only open, for their memory
"""

import json
from typing import Any, Final, NamedTuple

from bench.answers import MODEL, steering
from bench.jobs import Job

BODY: Final[dict[str, Any]] = {
    "model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": "lorem ipsum " * 75}],
}  # fmt: skip
"""About a kilobyte."""

EVENTS: Final = 60
GAP_MS: Final = 20


class Load(NamedTuple):
    name: str
    events: int = 0
    gap_ms: float = 0.0
    size: int = 0
    share: float = 1.0
    """Of the calls of a plain load: a paced stream takes more than a second."""
    concurrency_min: int = 1
    """A paced stream waits most of its time."""
    max_tokens: int = 200

    @property
    def body(self) -> str:
        """The request."""
        if not self.events:
            return json.dumps(BODY)
        steered = {"user_id": steering(self.events, gap_ms=self.gap_ms, size=self.size)}
        return json.dumps({**BODY, "max_tokens": self.max_tokens, "stream": True, "metadata": steered})

    def job(
        self,
        url: str,
        headers: dict[str, str],
        *,
        count: int,
        concurrency: int = 1,
        seconds_max: float = 60,
        ca_file: str = "",
        ramp_s: float = 0,
        stall: bool = False,
        keys: tuple[str, ...] = (),
    ) -> Job:
        """So many calls of it."""
        return Job(
            url=url,
            headers=headers,
            keys=keys,
            body=self.body,
            count=count,
            concurrency=min(concurrency, count),
            seconds_max=seconds_max,
            ca_file=ca_file,
            events=self.events,
            timed=self.gap_ms > 0,
            ramp_s=ramp_s,
            stall=stall,
        )


PLAIN: Final = Load("plain")
BURST: Final = Load("burst", events=EVENTS, share=0.5)
PACED: Final = Load("paced", events=EVENTS, gap_ms=GAP_MS, share=0.1, concurrency_min=50)
LOADS: Final = {load.name: load for load in (PLAIN, BURST, PACED)}
