"""A plan says of each of its answers whether it is whole, and is right; the same seed gives the same plans."""

from faregate.upstreams.script import End
from tests.faults.plans import MARKER, Plans


def test_only_the_play_that_is_called_whole_ends_as_an_answer_ends() -> None:
    plans = Plans(7)
    for plan in (plans.next() for _ in range(3_000)):
        for number, play in enumerate(plan.plays):
            frames = play.frames if play.ending is End.CLEAN else play.frames[: play.ending_after]
            streamed = any(b"message_stop" in frame for frame in frames)
            plain = play.status == 200 and b'"stop_reason"' in play.frames[0] and b"event:" not in play.frames[0]
            assert (streamed or plain) == (number == plan.whole), plan


def test_a_seed_says_everything() -> None:
    first, second = Plans(5), Plans(5)
    drawn = [first.next() for _ in range(50)]

    assert drawn == [second.next() for _ in range(50)]
    for plan in drawn:
        found = MARKER.search(plan.body)
        assert found is not None and found[0].decode() == plan.marker
