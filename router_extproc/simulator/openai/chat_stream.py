"""A chat completion as server-sent events, rendered step by step from bytes prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from router_extproc.simulator.answers import StreamAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.chat_request import ChatRequest
from router_extproc.simulator.openai.generation import Generation
from router_extproc.simulator.openai.logprobs import chat_logprobs
from router_extproc.simulator.openai.provider import Provider
from router_extproc.simulator.openai.tool_calls import ToolCall
from router_extproc.simulator.openai.usage import usage_object

DONE = b"data: [DONE]\n\n"


def stream(request: ChatRequest, provider: Provider, faults: Faults, generation: Generation, usage: Usage) -> StreamAnswer:
    """Return the stream; where ``n`` is above 1 every step carries one event for each choice."""
    choices = range(request.n or 1)
    head = _event_head(request, provider)
    tail = b'],"usage":null}\n\n' if request.wants_usage_chunk else b"]}\n\n"
    deltas = _call_deltas(generation.tool_calls) if generation.tool_calls else _text_deltas(generation.tokens)
    tokens = generation.tokens
    top = (request.top_logprobs or 0) if request.logprobs else None

    def event(index: int, delta: bytes, logprobs: bytes = b"null", finish_reason: bytes = b"null") -> bytes:
        return b'%b{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}%b' % (
            head,
            index,
            delta,
            logprobs,
            finish_reason,
            tail,
        )

    def token(step: int) -> bytes:
        logprobs = b"null"
        if top is not None and tokens:
            logprobs = msgspec.json.encode(chat_logprobs(tokens[step : step + 1], faults.logprob, top))
        return b"".join([event(index, deltas[step], logprobs) for index in choices])

    opening = msgspec.json.encode({"role": "assistant", "content": None if generation.tool_calls else "", "refusal": None})
    reason = msgspec.json.encode(generation.finish_reason)
    finish = b"".join(event(index, b"{}", finish_reason=reason) for index in choices)
    if request.wants_usage_chunk:
        finish += head + b'],"usage":' + msgspec.json.encode(usage_object(usage)) + b"}\n\n"
    return StreamAnswer(
        token=token,
        tokens=len(deltas),
        opening=b"".join(event(index, opening) for index in choices),
        finish=finish,
        done=DONE,
        usage=usage,
    )


def _event_head(request: ChatRequest, provider: Provider) -> bytes:
    """Return all of an event up to its choices."""
    shared = {
        "id": provider.new_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": provider.now(),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": provider.fingerprint(request.model),
    }
    return b"data: " + msgspec.json.encode(shared)[:-1] + b',"choices":['


@lru_cache(maxsize=1024)
def _text_deltas(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(msgspec.json.encode({"content": token}) for token in tokens)


def _call_deltas(calls: Sequence[ToolCall]) -> tuple[bytes, ...]:
    deltas: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        opening = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        deltas.append(opening)
        deltas += [{"index": index, "function": {"arguments": piece}} for piece in call.arguments]
    return tuple(msgspec.json.encode({"tool_calls": [delta]}) for delta in deltas)
