"""What the model produces for a chat request, step by step: the content that plain and streamed answers share."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.answer_text import answer_tokens
from router_extproc.simulator.openai.chat_request import ChatRequest
from router_extproc.simulator.openai.json_example import example
from router_extproc.simulator.openai.provider import Provider
from router_extproc.simulator.openai.tokens import split_tokens
from router_extproc.simulator.openai.tool_calls import ToolCall, called_functions, tool_call


class Generation(msgspec.Struct, frozen=True):
    """One choice: either text or tool calls, and why it ended."""

    tokens: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str

    @property
    def length(self) -> int:
        """Tokens produced; a call's opening, which names the function, counts as one."""
        return len(self.tokens) + sum(1 + len(call.arguments) for call in self.tool_calls)


def generate(request: ChatRequest, provider: Provider, faults: Faults) -> Generation:
    """Return what the model says to this request, cut at the client's token limit.

    Raises:
        Refusal: ``tool_choice`` names a function that is not on offer.
    """
    functions = called_functions(request)
    if functions:
        calls = tuple(tool_call(function, provider.new_id("call_")) for function in functions)
        return _limited_calls(calls, request.token_limit)
    format_type = (request.response_format or {}).get("type", "text")
    if format_type == "text":
        tokens = answer_tokens(provider.name, request.model, faults.tokens)
    else:
        tokens = split_tokens(_json_answer(request, provider))
    limit = request.token_limit
    if limit is not None and limit < len(tokens):
        return Generation(tokens[:limit], (), "length")
    return Generation(tokens, (), "stop")


@lru_cache(maxsize=1024)
def text_of(tokens: tuple[str, ...]) -> str:
    """Return the text that the tokens stand for."""
    return "".join(tokens)


def _json_answer(request: ChatRequest, provider: Provider) -> str:
    text = f"{provider.name} ({request.model}) simulated this answer"
    response_format = request.response_format or {}
    if response_format.get("type") == "json_schema":
        described = response_format.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        value = example(schema, text) if schema is not None else {}
    else:
        value = {"answer": text}
    return msgspec.json.encode(value).decode()


def _limited_calls(calls: tuple[ToolCall, ...], limit: int | None) -> Generation:
    whole = Generation((), calls, "tool_calls")
    if limit is None or whole.length <= limit:
        return whole
    kept: list[ToolCall] = []
    left = limit
    for call in calls:
        if left < 1:
            break
        kept.append(msgspec.structs.replace(call, arguments=call.arguments[: left - 1]))
        left -= 1 + len(kept[-1].arguments)
    return Generation((), tuple(kept), "length")
