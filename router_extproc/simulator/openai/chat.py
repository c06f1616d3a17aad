"""``POST /chat/completions``, whole or as a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from router_extproc.simulator.answers import Answer, PlainAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.chat_request import ChatRequest, check, message_text, message_tokens, prompt_tokens
from router_extproc.simulator.openai.chat_stream import stream
from router_extproc.simulator.openai.error_bodies import context_length_exceeded
from router_extproc.simulator.openai.generation import Generation, generate, text_of
from router_extproc.simulator.openai.logprobs import chat_logprobs
from router_extproc.simulator.openai.prompt_cache import SHORTEST_CACHED_PROMPT
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.openai.tokens import CHARACTERS_PER_TOKEN
from router_extproc.simulator.openai.usage import usage_object
from router_extproc.simulator.received import ReceivedRequest

_ASSUMED_WINDOW = 128_000


def chat_completion(received: ReceivedRequest, provider: Provider, faults: Faults) -> Answer:
    """Answer a chat completion request.

    Raises:
        Refusal: the request is malformed, too long, or names a model that is not served.
    """
    request = read_body(received.body, ChatRequest)
    provider.require_model(request.model)
    check(request)
    tokens = prompt_tokens(request)
    if faults.context_length_exceeded:
        window = provider.context_window or _ASSUMED_WINDOW
        raise context_length_exceeded(window, max(tokens, window + 1), 0)
    provider.require_room(tokens, request.token_limit or 0)
    generation = generate(request, provider, faults)
    choices = request.n or 1
    usage = Usage(tokens, _cached_tokens(request, provider, tokens), generation.length * choices)
    if request.stream:
        return stream(request, provider, faults, generation, usage)
    return _plain(request, provider, faults, generation, usage)


def _cached_tokens(request: ChatRequest, provider: Provider, tokens: int) -> int:
    if tokens < SHORTEST_CACHED_PROMPT:
        return 0
    messages = [(f"{message.role}\0{message_text(message)}".encode(), message_tokens(message)) for message in request.messages]
    return provider.prompt_cache.cached_tokens(request.model, messages)


def _plain(request: ChatRequest, provider: Provider, faults: Faults, generation: Generation, usage: Usage) -> PlainAnswer:
    if faults.answer_bytes is None:
        return PlainAnswer(body=_body(request, provider, faults, generation, usage), usage=usage)
    # Usage first: its digits are part of the size.
    usage = msgspec.structs.replace(usage, completion_tokens=-(-faults.answer_bytes // CHARACTERS_PER_TOKEN))
    body = _body(request, provider, faults, generation, usage)
    missing = faults.answer_bytes - len(body)
    if missing > 0 and not generation.tool_calls:
        end_of_text = body.index(b'","refusal":null')
        # Spaces, because they leave JSON that was asked for as valid as it was.
        body = body[:end_of_text] + b" " * missing + body[end_of_text:]
    return PlainAnswer(body=body, usage=usage)


def _body(request: ChatRequest, provider: Provider, faults: Faults, generation: Generation, usage: Usage) -> bytes:
    text = None if generation.tool_calls else text_of(generation.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if generation.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text_of(call.arguments)}}
            for call in generation.tool_calls
        ]
    logprobs = chat_logprobs(generation.tokens, faults.logprob, request.top_logprobs or 0) if request.logprobs else None
    choices = [
        {"index": index, "message": message, "logprobs": logprobs, "finish_reason": generation.finish_reason}
        for index in range(request.n or 1)
    ]
    return msgspec.json.encode(
        {
            "id": provider.new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": provider.now(),
            "model": request.model,
            "choices": choices,
            "usage": usage_object(usage),
            "service_tier": "default",
            "system_fingerprint": provider.fingerprint(request.model),
        }
    )
