"""``POST /completions``, the legacy API, whole or as a stream."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from router_extproc.simulator.answers import Answer, PlainAnswer, StreamAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.answer_text import answer_tokens
from router_extproc.simulator.openai.chat_request import Choices, StreamOptions, TokenLimit
from router_extproc.simulator.openai.chat_stream import DONE
from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.openai.logprobs import completion_logprobs
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.openai.tokens import count_tokens
from router_extproc.simulator.openai.usage import usage_object
from router_extproc.simulator.received import ReceivedRequest

DEFAULT_TOKEN_LIMIT = 16


class CompletionRequest(msgspec.Struct):
    """What the answer depends on."""

    model: str
    prompt: str | list[Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenLimit | None = None
    n: Choices | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None


def completion(received: ReceivedRequest, provider: Provider, faults: Faults) -> Answer:
    """Answer a legacy completion request.

    Raises:
        Refusal: the request is malformed, too long, or names a model that is not served.
    """
    request = read_body(received.body, CompletionRequest)
    provider.require_model(request.model)
    prompts = list_inputs(request.prompt)
    prompt_tokens = sum(tokens_of_input(prompt) for prompt in prompts)
    limit = request.max_tokens or DEFAULT_TOKEN_LIMIT
    provider.require_room(prompt_tokens, limit)
    whole = answer_tokens(provider.name, request.model, faults.tokens)
    tokens = whole[:limit]
    finish_reason = "length" if len(tokens) < len(whole) else "stop"
    choices = range(len(prompts) * (request.n or 1))
    usage = Usage(prompt_tokens, 0, len(tokens) * len(choices))
    shared = {
        "id": provider.new_id("cmpl-"),
        "object": "text_completion",
        "created": provider.now(),
        "model": request.model,
        "system_fingerprint": provider.fingerprint(request.model),
    }

    def choice(index: int, text_tokens: tuple[str, ...], reason: str | None) -> dict[str, Any]:
        logprobs = None if request.logprobs is None else completion_logprobs(text_tokens, faults.logprob, request.logprobs)
        return {"text": "".join(text_tokens), "index": index, "logprobs": logprobs, "finish_reason": reason}

    if not request.stream:
        content = {
            **shared,
            "choices": [choice(index, tokens, finish_reason) for index in choices],
            "usage": usage_object(usage),
        }
        return PlainAnswer(body=msgspec.json.encode(content), usage=usage)

    def events(text_tokens: tuple[str, ...], reason: str | None) -> bytes:
        return b"".join(_event({**shared, "choices": [choice(index, text_tokens, reason)]}) for index in choices)

    finish = events((), finish_reason)
    if request.stream_options is not None and request.stream_options.include_usage:
        finish += _event({**shared, "choices": [], "usage": usage_object(usage)})
    return StreamAnswer(
        token=lambda step: events(tokens[step : step + 1], None),
        tokens=len(tokens),
        opening=b"",
        finish=finish,
        done=DONE,
        usage=usage,
    )


def list_inputs(value: str | list[Any] | None) -> list[str | list[Any]]:
    """Return the inputs one by one: a bare text or a bare list of token numbers is one input.

    Raises:
        Refusal: 400 for a list of anything but texts and lists.
    """
    if not value:
        return [""]
    if isinstance(value, str) or isinstance(value[0], int):
        return [value]
    if not all(isinstance(item, str | list) for item in value):
        raise invalid("Expected a string, an array of strings, an array of tokens or an array of token arrays.")
    return value


def tokens_of_input(value: str | list[Any]) -> int:
    """Return the estimated tokens of a text, or the number of tokens in a list of them."""
    return count_tokens(value) if isinstance(value, str) else len(value)


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"
