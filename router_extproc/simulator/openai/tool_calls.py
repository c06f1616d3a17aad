"""When the simulated model calls a function, which one, and with which arguments."""

from __future__ import annotations

import re

import msgspec

from router_extproc.simulator.openai.chat_request import ChatRequest, Function, message_text
from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.openai.json_example import example
from router_extproc.simulator.openai.tokens import split_tokens

_CALL = re.compile(r"\bcall ([A-Za-z0-9_-]{1,64})")


class ToolCall(msgspec.Struct, frozen=True):
    """One call, its arguments in the pieces in which they stream."""

    id: str
    name: str
    arguments: tuple[str, ...]


def called_functions(request: ChatRequest) -> list[Function]:
    """Return the functions to call: the one that ``tool_choice`` forces, or those that the last user message names.

    A user asks with "call NAME", several times for parallel calls; ``required`` without a name takes the first function.
    """
    functions = request.functions
    if not functions or request.tool_choice == "none":
        return []
    by_name = {function.name: function for function in functions}
    if isinstance(request.tool_choice, dict):
        forced = request.tool_choice.get("function")
        name = str(forced.get("name")) if isinstance(forced, dict) else ""
        if name not in by_name:
            raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
        return [by_name[name]]
    last = request.messages[-1]
    asked = [by_name[name] for name in _CALL.findall(message_text(last)) if name in by_name] if last.role == "user" else []
    if not asked and request.tool_choice == "required":
        asked = functions[:1]
    return asked[:1] if request.parallel_tool_calls is False else asked


def tool_call(function: Function, call_id: str) -> ToolCall:
    """Return a call with arguments that the function's schema accepts."""
    arguments = example(function.parameters) if function.parameters else {}
    return ToolCall(id=call_id, name=function.name, arguments=split_tokens(msgspec.json.encode(arguments).decode()))
