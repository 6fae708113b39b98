"""What the claims about OpenAI's door share: its requests on the wire, and its streams read back."""

import json
from typing import Any

import msgspec

from faregate.wire import sse
from tests.contract.riders import Rider
from tests.gateway import MODEL, Gate, Streamed

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello there"}]}


def chat(**fields: Any) -> dict[str, Any]:
    return {**ASK, **fields}


async def completion(gate: Gate, key: str, body: Any = ASK, **headers: str) -> Any:
    """A plain answer, asked for with a bearer as OpenAI's clients do."""
    return await gate.post(CHAT, None, body, authorization=f"Bearer {key}", **headers)


async def ride(gate: Gate, key: str, **fields: Any) -> Rider:
    """A stream on a bare socket."""
    body = msgspec.json.encode(chat(stream=True, stream_options={"include_usage": True}, **fields))
    rider = await Rider.connect(gate)
    lines = [f"POST {CHAT} HTTP/1.1", "host: gateway", f"authorization: Bearer {key}", f"content-length: {len(body)}"]
    await rider.send("\r\n".join([*lines, "", ""]).encode() + body)
    return rider


def chunks(body: bytes) -> list[dict[str, Any]]:
    """What a stream said, without its [DONE]."""
    return [json.loads(frame.data) for frame in sse.frames(body) if frame.data and frame.data != b"[DONE]"]


async def stream(gate: Gate, key: str, **fields: Any) -> tuple[Streamed | Any, bytes]:
    """A streamed answer's head, and its body read to the end."""
    body = chat(stream=True, stream_options={"include_usage": True}, **fields)
    headers = {"authorization": f"Bearer {key}"}
    async with gate.client.stream("POST", CHAT, json=body, headers=headers) as answer:
        return answer, await answer.aread()


def text(body: bytes) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks(body) for c in chunk["choices"])
