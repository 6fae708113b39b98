"""A conversation is known again by its beginning, goes where that is warm, and is no other tenant's business.

Method: prompts as they are surveyed, grown turn by turn.
"""

from typing import Any

import pytest

from faregate.core.affinity import NO_TRAIL, SOUGHT_MAX, WARM_S, Affinity, Trail, trail
from faregate.core.prompt import survey

MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def said(text: str, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text, **more}]}


def known(*messages: dict[str, Any], wallet: str = "w", **more: Any) -> Trail:
    document = {"system": [{"type": "text", "text": "Be brief.", **MARK}], "messages": list(messages), **more}
    return trail(survey(document, namespace=wallet, image_tokens_max=0))


def home(affinity: Affinity, of: Trail, now_s: float = 0.0, down: str = "") -> str | None:
    return affinity.home(of, now_s, is_up=lambda name: name != down)


TURN_1 = [said("One")]
TURN_2 = [*TURN_1, said("Yes", "assistant"), said("Two")]


def test_the_next_turn_of_a_conversation_goes_where_the_last_one_went() -> None:
    affinity = Affinity()
    assert home(affinity, known(*TURN_1)) is None
    affinity.note(known(*TURN_1), "a", 0)

    assert home(affinity, known(*TURN_2)) == "a"
    assert home(affinity, known(*TURN_1)) == "a", "the same once more"
    assert (affinity.new, affinity.kept, affinity.moved) == (1, 2, 0)


@pytest.mark.parametrize(
    "other",
    [
        known(said("Three"), said("Yes", "assistant"), said("Two")),
        known(*TURN_2, wallet="v"),
        known(*TURN_2, system="Be verbose."),
    ],
    ids=["conversation", "wallet", "head"],
)
def test_another_one_does_not(other: Trail) -> None:
    affinity = Affinity()
    affinity.note(known(*TURN_1), "a", 0)
    assert home(affinity, other) is None


def test_what_all_conversations_have_alike_binds_none() -> None:
    affinity = Affinity()
    tools = [{"name": "t", "input_schema": {"type": "object"}, **MARK}]
    affinity.note(known(said("One"), tools=tools), "a", 0)
    assert home(affinity, known(said("Another"), tools=tools)) is None


def test_the_longest_known_beginning_decides() -> None:
    affinity = Affinity()
    affinity.note(known(*TURN_1), "a", 0)
    affinity.note(known(*TURN_2), "b", 0)

    assert home(affinity, known(*TURN_2, said("Yes", "assistant"), said("Three"))) == "b"
    assert home(affinity, known(*TURN_1, said("No", "assistant"), said("Three"))) == "a"


def test_a_mark_within_a_message_is_a_beginning_too() -> None:
    def about(question: str) -> Trail:
        long = {"type": "text", "text": "A long document.", **HOUR}
        return known({"role": "user", "content": [long, {"type": "text", "text": question}]})

    affinity = Affinity()
    affinity.note(about("What?"), "a", 0)
    assert home(affinity, about("Why?"), now_s=WARM_S["1h"] - 1) == "a"
    assert home(affinity, about("What?"), now_s=WARM_S["1h"]) is None


def test_it_is_forgotten_when_the_cache_is_and_kept_while_it_is_read() -> None:
    affinity = Affinity()
    affinity.note(known(*TURN_1), "a", 0)
    assert home(affinity, known(*TURN_2), now_s=WARM_S["5m"] - 1) == "a"
    affinity.note(known(*TURN_1), "a", 100)

    assert home(affinity, known(*TURN_2), now_s=WARM_S["5m"] + 99) == "a"
    assert home(affinity, known(*TURN_2), now_s=WARM_S["5m"] + 100) is None


def test_an_upstream_that_is_down_loses_it() -> None:
    affinity = Affinity()
    affinity.note(known(*TURN_1), "a", 0)

    assert home(affinity, known(*TURN_2), down="a") is None
    assert affinity.moved == 1
    assert home(affinity, known(*TURN_2)) is None, "up again, it is not taken back"


def test_it_remembers_no_more_than_it_may_and_forgets_the_oldest() -> None:
    affinity = Affinity(most=3)
    for number in range(5):
        affinity.note(known(said(f"{number}")), "a", 0)
    found = [home(affinity, known(said(f"{number}"))) for number in range(5)]
    assert found == [None, None, "a", "a", "a"]


def test_it_looks_back_so_far_and_no_further() -> None:
    long = [said(f"{number}", ("user", "assistant")[number % 2]) for number in range(SOUGHT_MAX + 1)]
    affinity = Affinity()
    affinity.note(known(*long[:2]), "a", 0)
    assert home(affinity, known(*long)) == "a"
    assert home(affinity, known(*long, said("more"), said("more", "assistant"))) is None


def test_a_prompt_without_messages_has_no_trail() -> None:
    assert known() is NO_TRAIL
