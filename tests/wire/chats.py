"""Requests to Chat Completions for the tests of their translation, and strategies that make any."""

from typing import Any

from hypothesis import strategies as st

from faregate.wire.chat import Chat, translate

MODEL = "claude-haiku-4-5"
MAX_OUTPUT = 8_192
USER = {"role": "user", "content": "hello"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

Document = dict[str, Any]


def chat(**more: Any) -> Document:
    """The smallest request, with more fields."""
    return {"model": MODEL, "messages": [USER], **more}


def saying(*messages: Document) -> Document:
    return chat(messages=list(messages))


def translated(document: Document) -> Chat:
    return translate(document, lambda _: MAX_OUTPUT)


def written(document: Document) -> Document:
    """The document that it becomes."""
    return translated(document).document


def called(number: int, arguments: str = "{}") -> Document:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": arguments}}


def result(number: int, content: Any = "seen") -> Document:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


def tool(name: str = "look", **more: Any) -> Document:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **more}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

WORDS = st.text("abc é\n", min_size=1, max_size=8).filter(str.strip)
PARTS = st.lists(WORDS.map(lambda words: {"type": "text", "text": words}), min_size=1, max_size=3)
SAID = WORDS | PARTS


@st.composite
def turns(draw: st.DrawFn) -> list[Document]:
    """A conversation that makes sense: what is called is answered, by tools and perhaps by users in between."""
    messages: list[Document] = [{"role": "system", "content": draw(SAID)}] if draw(st.booleans()) else []
    calls = 0
    for _ in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(SAID)})
        made = list(range(calls, calls + draw(st.integers(0, 3))))
        calls += len(made)
        spoken: Document = {"role": "assistant", "content": draw(SAID if not made else SAID | st.none())}
        if made:
            spoken["tool_calls"] = [called(number) for number in made]
        results = [result(number, draw(SAID)) for number in draw(st.permutations(made))]
        between = draw(st.lists(st.sampled_from(["user", "developer"]), max_size=2)) if made else []
        others = [{"role": role, "content": draw(SAID)} for role in between]
        messages += [spoken, *draw(st.permutations([*results, *others]))]
    return messages
