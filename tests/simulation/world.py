"""A world: one ledger file, the callers, operator and upstream around it, and the lives of a gateway on it.

    open the file (boot sweep) -> calls arrive, the operator meddles, the clock jumps -> crash | graceful stop -> judge
         ^__________________________________________________________________________________|

The rule: everything is drawn from the seed, so the same seed gives the same file, row by row. A crash takes the file as
the disk has it at that step (the database and its log, copied), and nothing that the dead gateway's tasks do afterwards
reaches anyone: neither the new file, nor the upstream's log, nor a caller's notes. fsync is not what is tried here, for
what dies is the process and not the machine: the file may lie on a disk that is made of memory.
"""

import asyncio
import random
import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

from faregate.core.errors import NotReady
from faregate.proxy.story import serve
from faregate.store.store import Store
from tests.simulation import calls, judge
from tests.simulation.caller import Note, SimCaller
from tests.simulation.clock import Crash, VirtualLoop
from tests.simulation.town import PEPPER, Town, wire
from tests.simulation.upstream import REQUEST, Attempt, SimUpstream

GAP_S: Final = 0.4
"""Between two calls, on the whole."""

STEPS_OF_LIFE: Final = 1_400
"""How many steps a gateway that dies lives at most: some hundred calls."""

DRAIN_S: Final = (0.0, 0.5, 5.0, 60.0)
"""How long a graceful stop waits before it cuts calls off."""


SPOOL: Final = ".spool"
"""What the name of a file's spool ends in."""

NOTES_S: Final = 5.0
"""Within this, what the file has not taken is carried out, once it can be written."""


class Verdict(NamedTuple):
    """What became of a world."""

    requests: int
    crashes: int
    stops: int
    broken: list[str]
    ledger: str


class World:
    """One file and all that happens to it."""

    def __init__(self, folder: Path, seed: str, requests: int) -> None:
        self.chance = random.Random(seed)
        self._answers = random.Random(f"{seed}/answers")
        self._folder = folder
        self._requests = requests
        self._file = folder / "life-0.db"
        self._at = 0.0
        self._lives = 0
        self._waiting: list[tuple[float, calls.Call]] = []
        """Calls that will be sent again, and when."""
        self.town = Town(random.Random(f"{seed}/town"))
        self.notes: list[Note] = []
        self.log: list[Attempt] = []
        self.crashes = self.stops = 0
        self.broken: list[str] = []

    def run(self) -> Verdict:
        """Live until all calls have been made, and judge after each life."""
        at_rest = False
        while not at_rest or self.more():
            at_rest = self._life()
            self.broken += judge.judge(
                self._file, self.notes, self.log, self.town, quiet=at_rest, spool=spool_of(self._file)
            )
            if self.broken:
                break
        return Verdict(len(self.notes), self.crashes, self.stops, self.broken, judge.digest(self._file))

    def more(self) -> bool:
        """Whether there are calls to be made yet."""
        return len(self.notes) < self._requests

    def _life(self) -> bool:
        """One gateway, from its start to its end; False when that has left something to the next."""
        self._lives += 1
        crashes = self.more() and self.chance.random() < 0.85
        crash_before = self.chance.randrange(1, STEPS_OF_LIFE) if crashes else None
        crashed_before = self.crashes
        loop = VirtualLoop(at=self._at, crash_before=crash_before)
        life = Life(
            self, loop, SimUpstream("sim-a", self._answers, self.log), SimUpstream("sim-b", self._answers, self.log)
        )
        main = loop.create_task(life.live(self._file))
        try:
            loop.run_until_complete(main)
            self.stops += 1
            self._at_rest(loop)
        except Crash:
            self.crashes += 1
            self._file = self._image()
            self._bury(loop, life)
        finally:
            loop.close()
        self._at = loop.time() + self.chance.choice((0.1, 2.0, 600.0))
        return self.crashes == crashed_before and not life.hurried

    def _image(self) -> Path:
        """The file as the dead process left it."""
        image = self._folder / f"life-{self._lives}.db"
        shutil.copyfile(self._file, image)
        for beside in ("-wal", SPOOL):
            if (part := self._file.with_name(self._file.name + beside)).exists():
                shutil.copyfile(part, image.with_name(image.name + beside))
        return image

    def _bury(self, loop: VirtualLoop, life: "Life") -> None:
        """Let the dead gateway's tasks go, where nobody sees what they do."""
        life.dead = True
        loop.crash_before = None
        for attempt in self.log:
            attempt.frozen = True
        for note in self.notes:
            if note.call.number in life.serving:
                note.cut = True
                note.over_at = loop.time() if note.over_at is None else note.over_at
        while left := _tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left))
        for path in self._folder.glob("life-*"):
            if not path.name.startswith(self._file.name):
                path.unlink()

    def _at_rest(self, loop: VirtualLoop) -> None:
        """After a graceful stop nothing may be left that waits or will happen."""
        left = [f"a task is left: {task.get_coro()}" for task in _tasks(loop)]
        left += [f"a timer is left: {timer}" for timer in loop.timers()]
        self.broken += [*left, *loop.faults]

    def next_call(self, now: float) -> calls.Call | None:
        """Who calls next; None when everybody has."""
        if not self.more():
            return None
        if self._waiting and self._waiting[0][0] <= now:
            return self._waiting.pop(0)[1]
        return calls.draw(self.chance, len(self.notes), self.town.secrets)

    def call_again(self, call: calls.Call, at: float) -> None:
        """Keep a call to be sent once more."""
        self._waiting.append((at, call))
        self._waiting.sort(key=lambda waiting: waiting[0])


def spool_of(file: Path) -> Path:
    """Where the settles wait that the file did not take."""
    return file.with_name(file.name + SPOOL)


def _tasks(loop: VirtualLoop) -> list["asyncio.Task[Any]"]:
    """In the order in which they were made: a set has none."""
    return sorted(asyncio.all_tasks(loop), key=lambda task: int(task.get_name().rpartition("-")[2]))


class Life:
    """One gateway between its start and its end."""

    def __init__(self, world: World, loop: VirtualLoop, *upstreams: SimUpstream) -> None:
        self._world = world
        self._loop = loop
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self.serving: dict[int, asyncio.Task[None]] = {}
        self.dead = False
        self.hurried = False
        """Whether it stopped before all that the file had not taken was carried out."""

    async def live(self, file: Path) -> None:
        """Open, serve, stop."""
        world = self._world
        town = world.town
        town.loop = self._loop
        async with Store.open(
            file,
            pepper=PEPPER,
            prices=town.shipped,
            clock=town.now_ms,
            spool=spool_of(file),
            hand=Hand(self._loop, world.chance),
        ) as store:
            gate = wire(town, store, self._upstreams, self)
            await town.settle_in(store.office)
            meddling = self._loop.create_task(town.meddle(store.office, file))
            await self._callers(gate)
            if world.more():
                await asyncio.sleep(world.chance.choice(DRAIN_S))
                self._cut_off()
            while self.serving:
                await asyncio.wait(list(self.serving.values()))
            await gate.drains.close(world.chance.choice(DRAIN_S))
            meddling.cancel()
            await asyncio.wait([meddling])
            if self._loop.time() < town.locked_until + NOTES_S:
                # What the file has not taken is written soon, or by the next life.
                self.hurried = world.more() and world.chance.random() < 0.3
                await asyncio.sleep(0 if self.hurried else NOTES_S)

    async def _callers(self, gate: Any) -> None:
        """Calls that come in, until all have or a stop is wished."""
        world, chance = self._world, self._world.chance
        stop_after = chance.randrange(5, 200)
        for _ in range(stop_after):
            call = world.next_call(self._loop.time())
            if call is None:
                return
            self._call(gate, call)
            if chance.random() > 0.2:
                await asyncio.sleep(GAP_S * chance.expovariate(1.0))

    def _call(self, gate: Any, call: calls.Call) -> None:
        world = self._world
        number = len(world.notes)
        note = Note(call._replace(number=number), self._loop.time())
        world.notes.append(note)
        self.serving[number] = self._loop.create_task(self._serve(gate, note))
        self._repeat(note.call)

    def _repeat(self, call: calls.Call) -> None:
        """Some callers send a call again: at once, soon, or after what may have been a crash."""
        world, chance = self._world, self._world.chance
        if b"idempotency-key" in call.headers and chance.random() < 0.4:
            at = self._loop.time() + chance.choice((0.0, 0.002, 0.5, 5.0, 100.0))
            world.call_again(calls.again(call, call.number, chance), at)

    async def _serve(self, gate: Any, note: Note) -> None:
        """What the door does with a call."""
        REQUEST.set(note.call.number)
        caller = SimCaller(note, self._loop)
        try:
            await serve(gate, caller)
        except asyncio.CancelledError:
            await caller.refuse(NotReady("The gateway is stopping.", code="shutting_down"))
        finally:
            del self.serving[note.call.number]
            if caller.timer is not None:
                caller.timer.cancel()

    def _cut_off(self) -> None:
        for task in self.serving.values():
            task.cancel()

    # What the gateway tells of itself: proxy.port.Observer -------------------------------------------------------

    def reserved(self, held: int) -> None:
        """A hold was taken."""

    def finished(self, record: Any) -> None:
        """A call has ended."""
        self._world.notes[int(record.request_id.removeprefix("req_"))].served += 1

    def trouble(self, request_id: str, what: str, error: BaseException | None) -> None:
        """The gateway has met what it did not expect, and so must nobody."""
        if not self.dead and not isinstance(error, NotReady):
            self._world.broken.append(f"trouble with {request_id}: {what}: {error!r} {_cause(error)}")


def _cause(error: BaseException | None) -> str:
    return "" if error is None or error.__cause__ is None else f"from {error.__cause__!r}"


class Hand:
    """Carries out commits by the virtual clock: a crash may fall before one, or between it and its answer."""

    def __init__(self, loop: VirtualLoop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance

    def __call__(self, work: Any, deliver: Any) -> None:
        self._loop.call_later(0.001 * self._chance.random(), self._work, work, deliver)

    def close(self) -> None:
        """Nothing is handed over any more."""

    def _work(self, work: Any, deliver: Any) -> None:
        self._loop.call_later(0.001 * self._chance.random(), deliver, work())
