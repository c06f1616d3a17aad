"""``POST /responses``: a text answer to a text, whole or as a stream of events."""

from __future__ import annotations

from typing import Any

import msgspec

from router_extproc.simulator.answers import Answer, PlainAnswer, StreamAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.answer_text import answer_tokens
from router_extproc.simulator.openai.chat_request import TokenLimit
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.openai.tokens import count_tokens
from router_extproc.simulator.received import ReceivedRequest


class ResponseRequest(msgspec.Struct):
    """What the answer depends on."""

    model: str
    input: msgspec.Raw = msgspec.Raw(b'""')
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: TokenLimit | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None


def response(received: ReceivedRequest, provider: Provider, faults: Faults) -> Answer:
    """Answer a request of the Responses API.

    Raises:
        Refusal: the request is malformed, too long, or names a model that is not served.
    """
    request = read_body(received.body, ResponseRequest)
    provider.require_model(request.model)
    prompt_tokens = count_tokens(bytes(request.input)) + count_tokens(request.instructions or "")
    provider.require_room(prompt_tokens, request.max_output_tokens or 0)
    whole = answer_tokens(provider.name, request.model, faults.tokens)
    tokens = whole[: request.max_output_tokens]
    usage = Usage(prompt_tokens, 0, len(tokens))
    message_id = provider.new_id("msg_")
    opening = _object(request, provider)
    final = {
        **opening,
        "status": "completed" if len(tokens) == len(whole) else "incomplete",
        "incomplete_details": None if len(tokens) == len(whole) else {"reason": "max_output_tokens"},
        "output": [_message(message_id, "".join(tokens), "completed")],
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
    if request.stream:
        return _stream(opening, final, message_id, tokens, usage)
    return PlainAnswer(body=msgspec.json.encode(final), usage=usage)


def _object(request: ResponseRequest, provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.new_id("resp_"),
        "object": "response",
        "created_at": provider.now(),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": request.previous_response_id,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "metadata": request.metadata or {},
        "usage": None,
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(message_id: str, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_text(text)]
    return {"type": "message", "id": message_id, "status": status, "role": "assistant", "content": content}


def _stream(
    opening: dict[str, Any], final: dict[str, Any], message_id: str, tokens: tuple[str, ...], usage: Usage
) -> StreamAnswer:
    text = "".join(tokens)
    place = {"item_id": message_id, "output_index": 0, "content_index": 0}
    first: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.in_progress", "response": opening},
        {"type": "response.output_item.added", "output_index": 0, "item": _message(message_id, None, "in_progress")},
        {"type": "response.content_part.added", **place, "part": _text("")},
    ]
    last: list[dict[str, Any]] = [
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": _text(text)},
        {"type": "response.output_item.done", "output_index": 0, "item": _message(message_id, text, "completed")},
    ]
    after = len(first) + len(tokens)
    end = "response.completed" if final["status"] == "completed" else "response.incomplete"

    def token(step: int) -> bytes:
        delta = {"type": "response.output_text.delta", **place, "delta": tokens[step], "logprobs": []}
        return _event(delta, len(first) + step)

    return StreamAnswer(
        token=token,
        tokens=len(tokens),
        opening=b"".join(_event(event, number) for number, event in enumerate(first)),
        finish=b"".join(_event(event, after + number) for number, event in enumerate(last)),
        # This API has no [DONE]: its last event says that the stream is whole.
        done=_event({"type": end, "response": final}, after + len(last)),
        usage=usage,
    )


def _event(event: dict[str, Any], number: int) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode({**event, "sequence_number": number}))
