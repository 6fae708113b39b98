"""What is said in a conversation is said to the peer, in the order that it needs, or refused by its path.

Method: one block at a time, the quirks of real clients, and any conversation that Hypothesis can think of.
"""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.core.errors import Unsupported
from faregate.upstreams.chat_content import BILLING_HEADER, conversation

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
URL = {"type": "image", "source": {"type": "url", "url": "https://h/x.png"}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
URL_PART = {"type": "image_url", "image_url": {"url": "https://h/x.png"}}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {**user(*content), "role": "assistant"}


def use(call_id: str = "toolu_1", name: str = "weather", **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": given}


def result(call_id: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, **more}


def told(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return conversation({"messages": list(messages), **more})


def test_a_text_is_a_plain_string_whether_it_came_as_one_or_as_blocks() -> None:
    assert (
        told(user("Hi"))
        == told(user(text("Hi", cache_control={"type": "ephemeral"})))
        == [{"role": "user", "content": "Hi"}]
    )


@pytest.mark.parametrize("system", ["Be kind.", [text("Be"), text("kind.")]])
def test_the_system_text_leads(system: Any) -> None:
    first, second = told(user("Hi"), system=system)
    assert (first["role"], first["content"].replace("\n\n", " ")) == ("system", "Be kind.")
    assert second == {"role": "user", "content": "Hi"}


def test_the_billing_header_of_claude_code_stays_away_for_it_changes_with_each_prompt() -> None:
    found = told(user("Hi"), system=[text(f"{BILLING_HEADER}: cc_version=2; cch=1a2b3;"), text("Be kind.")])
    assert found[0] == {"role": "system", "content": "Be kind."}


def test_a_system_message_is_the_systems_where_it_leads_and_else_a_users() -> None:
    said = {"role": "system", "content": [text("Speak French.")]}
    assert told(said, user("Hi"), system="Be kind.")[0]["content"] == "Be kind.\n\nSpeak French."
    assert told(user("Hi"), said, assistant("Salut"), user("Bye"))[0] == {
        "role": "user",
        "content": "Hi\n\n[system] Speak French.",
    }


def test_what_one_side_says_in_a_row_is_one_message() -> None:
    assert told(user("a"), user("b"), assistant("c"), assistant(text("d"), text("e"))) == [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c\n\nde"},
    ]


def test_images_are_parts_beside_the_text() -> None:
    (message,) = told(user(text("What is"), PNG, URL, text("this?")))
    assert message["content"] == [
        {"type": "text", "text": "What is"}, PNG_PART, URL_PART, {"type": "text", "text": "this?"}
    ]  # fmt: skip


def test_parallel_calls_are_one_message_and_each_result_is_one_of_its_own_right_behind_it() -> None:
    found = told(
        user("Weather?"),
        assistant(text("Let me see."), use("toolu_1", city="Paris"), use("toolu_2", city="Rome")),
        user(text("Both."), result("toolu_2", content="rain"), result("toolu_1", content=[text("sun"), text("25 C")])),
    )
    calls = [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
    ]
    assert found[1:] == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "rain"},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "sun\n\n25 C"},
        {"role": "user", "content": "Both."},
    ]


def test_a_result_that_is_an_error_says_so_and_one_of_nothing_is_empty() -> None:
    failed, empty = told(user(result(content="no such city", is_error=True), result("toolu_2")))
    assert (failed["content"], empty["content"]) == ("[error]\n\nno such city", "")


def test_images_in_a_result_are_shown_by_the_user_behind_the_results() -> None:
    shown, other, behind = told(
        user(result(content=[text("A map:"), PNG]), result("toolu_2", content="x"), text("So?"))
    )
    assert shown["content"] == "A map:\n\n[1 image below]"
    assert other["role"] == "tool"
    assert behind["content"] == [
        {"type": "text", "text": "[of the result of toolu_1]"}, PNG_PART, {"type": "text", "text": "So?"}
    ]  # fmt: skip


def test_thoughts_are_the_providers_own_and_stay_away() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert told(user("Hi"), assistant(thought, {"type": "redacted_thinking", "data": "x"}, text("Ho")))[-1] == {
        "role": "assistant",
        "content": "Ho",
    }
    assert told(user("Hi"), assistant(thought)) == told(user("Hi")), "a turn of thoughts alone is none"


def test_documents_and_search_results_that_are_text_are_read_as_text() -> None:
    plain = {"type": "document", "title": "Law", "source": {"type": "text", "media_type": "text/plain", "data": "No."}}
    parts = {"type": "document", "source": {"type": "content", "content": [text("Yes."), PNG]}}
    assert told(user(plain, SEARCH))[0]["content"] == "[Law]\n\nNo.\n\n[T, https://s]\nFound."
    assert told(user(parts))[0]["content"] == [{"type": "text", "text": "Yes."}, PNG_PART]


@pytest.mark.parametrize("citations", [None, [], ["x"], "x", 3, {}, {"enabled": False}])
def test_citations_that_ask_for_nothing_are_left_out(citations: Any) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "No."}
    assert told(user({"type": "document", "source": source, "citations": citations}))[0]["content"] == "No."


PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
SEARCH = {"type": "search_result", "title": "T", "source": "https://s", "content": [text("Found.")]}
CITED = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    "citations": {"enabled": True},
}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (user(text("a"), PDF), "messages.0.content.1.source.type: documents of type 'base64'"),
        (user(CITED), "messages.0.content.0.citations: "),
        (user({**SEARCH, "citations": {"enabled": True}}), "messages.0.content.0.citations: "),
        (user({"type": "image", "source": {"type": "file"}}), "messages.0.content.0.source.type: images"),
        (user({"type": "container_upload", "file_id": "f"}), "messages.0.content.0.type: 'container_upload' blocks"),
        (user(result(content=[text("a"), PDF])), "messages.0.content.0.content.1.source.type: "),
        (user(result(content=[{"type": "tool_reference", "tool_name": "x"}])), "messages.0.content.0.content.0.type: "),
        (assistant(text("a"), {"type": "server_tool_use", "id": "x"}), "messages.0.content.1.type: 'server_tool_use'"),
        (assistant(PNG), "messages.0.content.0.type: 'image' blocks"),
        ({"role": "system", "content": [{"type": "tool_addition"}]}, "messages.0.content.0.type: 'tool_addition'"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_there_is_refused_by_its_path(message: dict[str, Any], path: str) -> None:
    with pytest.raises(Unsupported) as refusal:
        told(message)
    assert refusal.value.message.startswith(path)


SAID = st.text(min_size=1, max_size=8)
BLOCKS = {
    "user": st.one_of(
        st.builds(text, SAID), st.just(PNG), st.builds(result, SAID, content=st.one_of(SAID, st.just([PNG])))
    ),
    "assistant": st.one_of(st.builds(text, SAID), st.builds(use, SAID, SAID, city=SAID)),
    "system": st.builds(text, SAID),
}
MESSAGES = st.sampled_from(list(BLOCKS)).flatmap(
    lambda role: st.fixed_dictionaries(
        {"role": st.just(role), "content": st.one_of(SAID, st.lists(BLOCKS[role], max_size=4))}
    )
)


@given(st.lists(MESSAGES, min_size=1, max_size=6), st.one_of(st.just(""), SAID))
def test_any_conversation_becomes_one_that_a_template_takes_and_nothing_of_it_is_lost(
    messages: list[dict[str, Any]], system: str
) -> None:
    found = conversation({"messages": messages, "system": system})
    roles = [message["role"] for message in found]
    said = json.dumps(found, ensure_ascii=False)
    blocks = [
        block
        for message in messages
        for block in ([text(message["content"])] if isinstance(message["content"], str) else message["content"])
    ]

    assert "system" not in roles[1:]
    assert len(roles) > roles.count("system")
    # Sides alternate but for tools, whose results stand before what their user says.
    assert all(before != after or after == "tool" for before, after in itertools.pairwise(roles))
    assert all(
        after != "tool" or before in ("assistant", "tool", "system") for before, after in itertools.pairwise(roles)
    )
    for block in blocks:
        if block["type"] == "text":
            assert json.dumps(block["text"], ensure_ascii=False)[1:-1] in said
    calls = [call for message in found for call in message.get("tool_calls", ())]
    uses = [block for block in blocks if block["type"] == "tool_use"]
    assert [(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == [
        (block["id"], block["name"], block["input"]) for block in uses
    ]
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert [message["tool_call_id"] for message in found if message["role"] == "tool"] == results
