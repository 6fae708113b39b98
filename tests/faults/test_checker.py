"""The checker speaks of each thing that may never happen, and is silent where nothing has.

Method: books made by the real schema, doctored by hand with its guards taken out; and notes and logs that lie.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.checker import Note, UpstreamCall
from tests.faults.doctored import USAGE, Doctored, body_of
from tests.store.books import WALLET


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Doctored]:
    doctored = Doctored(tmp_path)
    doctored.call("a")
    doctored.call("b")
    yield doctored
    doctored.raw.close()


def said(books: Doctored, *words: str, quiet: bool = True) -> None:
    """The checker says one thing at least that has all these words, and names nothing that is well."""
    found = books.found(quiet=quiet)
    assert any(all(word in sentence for word in words) for sentence in found), found


def test_books_that_are_right_are_passed_in_silence(books: Doctored) -> None:
    books.hold("c")
    books.release("c")
    books.notes.append(Note("c", "error", body_sha256=body_of("c")))
    books.calls.append(UpstreamCall("c", 529, finished=True))
    books.hold("d", 5)
    books.settle("d", 5, shortfall=2)
    books.notes.append(Note("d", "cut", body_sha256=body_of("d")))
    books.calls.append(UpstreamCall("d", 200, finished=True, usage=USAGE))

    assert books.found() == []


DOCTORED: list[tuple[str, list[str]]] = [
    (f"UPDATE account SET posted = posted + 1 WHERE id = '{WALLET}'", ["together", "1 and not 0"]),
    (f"UPDATE account SET posted = posted + 1 WHERE id = '{WALLET}'", [WALLET, "posted"]),
    ("UPDATE account SET posted = posted - 1 WHERE id = 'lim'", ["lim", "posted"]),
    (f"UPDATE account SET held = 3 WHERE id = '{WALLET}'", [WALLET, "keeps 3 held"]),
    ("UPDATE transfer SET amount = 8 WHERE kind = 'settle' AND charge_id = 'a'", ["charge a", "settle 7", "moved 8"]),
    ("UPDATE transfer SET debit_id = 'nobody' WHERE charge_id = 'b'", ["account that does not exist", "nobody"]),
    ("UPDATE transfer SET amount = -7 WHERE kind = 'settle' AND charge_id = 'b'", ["moves -7"]),
    ("DELETE FROM transfer WHERE kind = 'limit' AND charge_id = 'b'", ["charge b", "against limit lim"]),
    ("DELETE FROM charge WHERE id = 'b'", ["transfers of b", "no such charge"]),
    ("UPDATE charge SET input = 8 WHERE id = 'a'", ["charge a", "its usage comes to 8"]),
    ("UPDATE price SET input = 2", ["charge a", "its usage comes to 14"]),
    ("UPDATE charge SET price_id = 'gone' WHERE id = 'a'", ["charge a", "price that does not exist"]),
    ("UPDATE charge SET held = 6 WHERE id = 'a'", ["charge a", "says 6", "held 20"]),
    (f"UPDATE hold SET amount = 6 WHERE charge_id = 'a' AND account_id = '{WALLET}'", ["charge a", "held 6"]),
    ("UPDATE charge SET outcome = 'upstream_error' WHERE id = 'a'", ["charge a", "billed 7 for an error"]),
    ("UPDATE charge SET state = 'released' WHERE id = 'a'", ["charge a", "billed 7 for an error"]),
    ("UPDATE charge SET charged = 5, shortfall = 2 WHERE id = 'a'", ["charge a", "shortfall of 2 although 20"]),
    ("UPDATE charge SET state = 'streaming' WHERE id = 'a'", ["charge a", "still streaming"]),
    ("UPDATE hold SET closed = NULL WHERE charge_id = 'a'", ["hold of a", "still open"]),
    ("UPDATE hold SET closed = 1 WHERE charge_id = 'b'", ["counts 4 moves", "[4]"]),
    (f"UPDATE account SET moves = 5 WHERE id = '{WALLET}'", ["counts 5 moves", "[5]"]),
    (f"UPDATE account SET floor = 990 WHERE id = '{WALLET}'", ["below its floor of 990", "move 1 (a)"]),
    ("UPDATE account SET floor = 487 WHERE id = 'lim'", ["lim was at", "below its floor of 487"]),
]


@pytest.mark.parametrize(
    ("statement", "words"), DOCTORED, ids=[f"{words[0]}: {at}" for at, (_, words) in enumerate(DOCTORED)]
)
def test_books_that_were_doctored_are_named(books: Doctored, statement: str, words: list[str]) -> None:
    books.do(statement)

    said(books, *words)


def test_a_wallet_that_was_below_its_floor_for_an_instant_is_named_though_it_is_above_it_now(books: Doctored) -> None:
    books.do(
        f"UPDATE hold SET seq = 4 WHERE charge_id = 'b' AND account_id = '{WALLET}'",
        f"UPDATE hold SET closed = 3 WHERE charge_id = 'b' AND account_id = '{WALLET}'",
        f"UPDATE account SET floor = 979 WHERE id = '{WALLET}'",
    )
    assert not any("floor" in sentence for sentence in books.found())

    books.do(
        f"UPDATE hold SET seq = 2 WHERE charge_id = 'b' AND account_id = '{WALLET}'",
        f"UPDATE hold SET closed = 3 WHERE charge_id = 'a' AND account_id = '{WALLET}'",
        f"UPDATE hold SET closed = 4 WHERE charge_id = 'b' AND account_id = '{WALLET}'",
    )
    said(books, WALLET, "was at 960, below its floor of 979", "move 2 (b)")


def test_a_top_up_between_two_calls_counts_from_where_it_may_have_stood(books: Doctored) -> None:
    books.hold("c", 400)
    books.raw.do(books.raw.transfer("ref:2", "topup", ("world", WALLET), 500))
    books.raw.do(books.raw.transfer("ref:3", "adjust", (WALLET, "world"), 500))
    books.notes.append(Note("c", "cut", body_sha256=body_of("c")))
    books.do(f"UPDATE account SET floor = 586 WHERE id = '{WALLET}'")
    assert books.found(quiet=False) == []

    books.do(f"UPDATE account SET floor = 587 WHERE id = '{WALLET}'")
    said(books, "was at 586, below its floor of 587, at transfer", quiet=False)


def test_a_call_under_way_is_no_fault_while_it_may_be(books: Doctored) -> None:
    books.hold("c")
    books.notes.append(Note("c", "cut", body_sha256=body_of("c")))

    assert books.found(quiet=False) == []
    said(books, "charge c is still reserved")
    said(books, "hold of c on lim is still open: 20")


LIES: list[tuple[Note, list[str]]] = [
    (Note("a", "end", message_id="z", body_sha256=body_of("a")), ["lost: a", "the end of z"]),
    (Note("a", "end", message_id="z"), ["lost: a", "none"]),
    (Note("a", "error", message_id="a"), ["wrong: a saw an error", "billed 7"]),
    (Note("a", "cut", message_id="z"), ["lost: a", "the start of z"]),
    (Note("a", "end", message_id="a", usage={**USAGE, "input": 8}), ["wrong: a read usage", "'input': 8"]),
    (Note("a", "end", message_id="a", charged=8), ["wrong: a was told 8", "cost 7"]),
    (Note("b", "end", message_id="a"), ["charge a is of two calls"]),
    (Note("other", "error"), ["upstream was asked for a", "no caller"]),
    (Note("other", "error"), ["charge a", "of no call that a caller made"]),
]


@pytest.mark.parametrize(("note", "words"), LIES, ids=[f"{words}" for _, words in LIES])
def test_a_caller_who_saw_something_else_is_heard(books: Doctored, note: Note, words: list[str]) -> None:
    books.notes[0] = note
    if note.marker == "b":
        books.notes.append(Note("a", "end", message_id="a"))

    said(books, *words)


SERVED: list[tuple[list[UpstreamCall], list[str]]] = [
    ([], ["wrong: a (ok) was settled", "never gave"]),
    ([UpstreamCall("a", 529, finished=True)], ["wrong: a (ok) was settled", "never gave"]),
    ([UpstreamCall("a", 200, finished=False)], ["wrong: a (ok) was settled", "never gave"]),
    ([UpstreamCall("a", 200, finished=True, usage={**USAGE, "output": 1})], ["wrong: a was billed for", "reported"]),
]


@pytest.mark.parametrize(("served", "words"), SERVED, ids=[str(at) for at in range(len(SERVED))])
def test_a_charge_that_upstream_does_not_explain_is_named(
    books: Doctored, served: list[UpstreamCall], words: list[str]
) -> None:
    books.calls[:1] = served

    said(books, *words)


def test_a_call_that_was_settled_twice_is_named(books: Doctored) -> None:
    books.hold("c")
    books.settle("c")
    books.do(f"UPDATE charge SET body_sha256 = x'{body_of('a').hex()}' WHERE id = 'c'")

    said(books, "double: a was settled 2 times", "c (settled, ok, 7)")


def test_a_call_that_upstream_served_without_a_hold_is_named(books: Doctored) -> None:
    books.notes.append(Note("c", "cut", body_sha256=body_of("c")))
    books.calls.append(UpstreamCall("c", 200, finished=True, usage=USAGE))

    said(books, "unheld: upstream was asked for c")


def test_a_release_without_a_reason_is_named(books: Doctored) -> None:
    books.hold("c")
    books.release("c")
    books.notes.append(Note("c", "cut", body_sha256=body_of("c")))
    books.do("UPDATE charge SET outcome = 'ok' WHERE id = 'c'")

    said(books, "wrong: c was released as ok")


def test_who_hung_up_is_said_to_have_and_pays_for_what_it_saw(books: Doctored) -> None:
    books.hold("c")
    books.release("c")
    books.notes.append(Note("c", "cut", message_id="c", left=True))
    books.do("UPDATE charge SET outcome = 'client_gone' WHERE id = 'c'")
    said(books, "wrong: c saw events", "was not billed")

    books.notes[-1] = Note("c", "cut", message_id="c", left=False)
    said(books, "wrong: c says that the caller of c hung up, and it did not")


def test_a_call_that_was_cut_is_billed_the_input_that_upstream_reported(books: Doctored) -> None:
    books.do("UPDATE charge SET outcome = 'client_gone', basis = 'counted' WHERE id = 'a'")
    books.notes[0] = Note("a", "cut", left=True, message_id="a")
    books.calls[0] = UpstreamCall("a", 200, finished=False, usage={**USAGE, "output": 30})
    assert books.found() == []

    books.calls[0] = UpstreamCall("a", 200, finished=False, usage={**USAGE, "input": 6})
    said(books, "wrong: a was billed for")
