import json

import openai
import pytest

from router_extproc.simulator import Faults
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import HELLO


def tool(name: str) -> dict:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("get_weather"), tool("get_news")]


def saying(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


async def test_the_user_can_ask_for_a_call(simulate: Simulate, client: Client) -> None:
    """The words "call NAME" in the last user message call that function with arguments that fit its schema."""
    answer = await client(await simulate()).chat.completions.create(
        model="gpt-4o", messages=saying("please call get_weather now"), tools=TOOLS
    )
    choice = answer.choices[0]
    [call] = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "simulated", "days": 1}


@pytest.mark.parametrize(
    ("text", "options", "called"),
    [
        ("hello", {}, []),
        ("call get_weather and call get_news", {}, ["get_weather", "get_news"]),
        ("call get_weather and call get_news", {"parallel_tool_calls": False}, ["get_weather"]),
        ("call get_weather", {"tool_choice": "none"}, []),
        ("call somebody", {}, []),
        ("hello", {"tool_choice": "required"}, ["get_weather"]),
        ("call get_news", {"tool_choice": "required"}, ["get_news"]),
        ("hello", {"tool_choice": {"type": "function", "function": {"name": "get_news"}}}, ["get_news"]),
    ],
)
async def test_tool_choice_decides(simulate: Simulate, client: Client, text: str, options: dict, called: list[str]) -> None:
    """What is forced is called, what is forbidden is not, and else the user's words decide."""
    answer = await client(await simulate()).chat.completions.create(
        model="gpt-4o", messages=saying(text), tools=TOOLS, **options
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls or ()] == called


async def test_a_tool_s_answer_is_not_answered_by_a_call(simulate: Simulate, client: Client) -> None:
    """The second turn of a tool conversation ends it with text."""
    sdk = client(await simulate())
    messages = saying("call get_weather")
    first = await sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)
    message = first.choices[0].message
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}]
    second = await sdk.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)
    assert second.choices[0].finish_reason == "stop"
    assert "main (gpt-4o)" in second.choices[0].message.content


async def test_calls_stream_in_pieces(simulate: Simulate, client: Client) -> None:
    """Id and name come first, the arguments in fragments that join to JSON."""
    stream = await client(await simulate()).chat.completions.create(
        model="gpt-4o", messages=saying("call get_weather and call get_news"), tools=TOOLS, stream=True
    )
    names, arguments, reasons = {}, {0: "", 1: ""}, []
    async for event in stream:
        reasons.append(event.choices[0].finish_reason)
        for piece in event.choices[0].delta.tool_calls or ():
            if piece.function.name:
                names[piece.index] = (piece.function.name, piece.id[:5])
            arguments[piece.index] += piece.function.arguments
    assert names == {0: ("get_weather", "call_"), 1: ("get_news", "call_")}
    assert [json.loads(text) for text in arguments.values()] == [{"city": "simulated", "days": 1}] * 2
    assert reasons[-1] == "tool_calls"


async def test_max_tokens_cuts_the_arguments(simulate: Simulate, client: Client) -> None:
    """As with a real model, cut arguments are no JSON, and the finish reason says why."""
    answer = await client(await simulate(faults=Faults(tokens=5))).chat.completions.create(
        model="gpt-4o", messages=saying("call get_weather"), tools=TOOLS, max_tokens=2
    )
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.function.arguments)


async def test_forcing_an_unknown_function_is_400(simulate: Simulate, client: Client) -> None:
    """`tool_choice` must name one of the tools."""
    with pytest.raises(openai.BadRequestError, match="'get_lost' not found"):
        await client(await simulate()).chat.completions.create(
            model="gpt-4o", messages=HELLO, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "get_lost"}}
        )
