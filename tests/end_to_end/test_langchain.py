"""LangChain's `ChatOpenAI` works unchanged behind another base URL."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.end_to_end.running import Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

# `text-only` is the cheapest and can do nothing but talk: what needs more must not go there.
# The deadline is far away, because a machine that is busy with other tests must not decide what these see.
CONFIGURATION = """
analysis: {deadline: 5s}
providers:
  vision: {base_url: $vision/v1, models: [gpt-4o]}
  talker: {base_url: $talker/v1}
  hasty: {base_url: $hasty/v1}
models:
  text-only:
    deployments: [{provider: talker, model: talker-7b}]
    tier: economy
    capabilities: []
    context_window: 8000
    prices: {input: 0.01, output: 0.02}
  unfinished: {deployments: [{provider: hasty}], prices: {input: 90, output: 90}}
"""
PLAYED: dict[str, dict[str, Any]] = {
    "vision": {"models": ["gpt-4o"]},
    "talker": {"models": ["talker-7b"]},
    "hasty": {"faults": {"end_early": "before_done"}},
}
# What a simulator says names who says it.
SENTENCE = "{} simulated this answer: no provider was called and nothing was billed."
TALKED, SEEN = SENTENCE.format("talker (talker-7b)"), SENTENCE.format("vision (gpt-4o)")

Chat = Callable[..., ChatOpenAI]

SIMULATED = PLAYED


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """The weather of a city."""
    return f"Rain in {city}, 4 degrees {unit}"


class Recipe(BaseModel):
    """What the model is to answer in."""

    title: str
    minutes: int
    difficulty: Literal["easy", "hard"]
    steps: list[str]


@pytest.fixture(scope="module", autouse=True)
def _untraced() -> Iterator[None]:
    """Whatever the developer's environment says, nothing of a test is reported to LangSmith."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
            patch.setenv(name, "false")
        yield


@pytest.fixture(scope="module")
def chat(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    """A chat model as an application makes it; without retries so that every failure shows."""
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as instance:

        def made(model: str = "auto", **options: Any) -> ChatOpenAI:
            address, key = f"{instance.url}/v1", "client-secret-canary"
            return ChatOpenAI(base_url=address, api_key=key, model=model, max_retries=0, timeout=30, **options)

        yield made


def test_invoke(chat: Chat) -> None:
    """A question is answered whole, with usage, by the model that the headers name."""
    answer = chat(include_response_headers=True).invoke("Hello")
    assert answer.content == TALKED
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["headers"]["x-router-model"] == "text-only"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def test_stream(chat: Chat) -> None:
    """The pieces of a stream join to the plain answer, and bring its usage where that was asked for."""
    plain = chat().invoke("Hello")
    pieces = list(chat(stream_usage=True).stream("Hello"))
    joined = sum(pieces[1:], pieces[0])
    assert joined.content == TALKED
    assert len(pieces) > 5
    assert isinstance(joined, AIMessageChunk)
    assert joined.usage_metadata == plain.usage_metadata


async def test_asynchronous(chat: Chat) -> None:
    """The asynchronous twins say the same."""
    model = chat()
    answers = await model.abatch(["Hello", "Hello"])
    assert [answer.content for answer in answers] == [TALKED, TALKED]
    assert "".join([str(piece.content) async for piece in model.astream("Hello")]) == TALKED


@pytest.mark.parametrize("streamed", [False, True])
def test_bind_tools(chat: Chat, *, streamed: bool) -> None:
    """A bound tool is called with arguments that fit, and the answer to its result comes back."""
    model = chat(streaming=streamed).bind_tools([get_weather])
    question = HumanMessage("Please call get_weather for Oslo.")
    asked = model.invoke([question])
    assert isinstance(asked, AIMessage)
    (call,) = asked.tool_calls
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert str(result.content).startswith("Rain in ")
    assert model.invoke([question, asked, result]).content == SEEN


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_with_structured_output(chat: Chat, method: Literal["json_schema", "function_calling"]) -> None:
    """What comes back is an object of the caller's own class, by either way to ask for it."""
    recipe = chat().with_structured_output(Recipe, method=method, include_raw=True).invoke("A recipe, please")
    assert isinstance(recipe, dict)
    assert isinstance(recipe["parsed"], Recipe)
    assert recipe["raw"].response_metadata["model_name"] == "gpt-4o"


def test_a_picture(chat: Chat) -> None:
    """LangChain's own image block goes to a model that sees."""
    image = {"type": "image", "base64": base64.b64encode(b"\x89PNG" * 10_000).decode(), "mime_type": "image/png"}
    answer = chat().invoke([HumanMessage([{"type": "text", "text": "What is this?"}, image])])
    assert answer.content == SEEN


def test_an_unknown_model_is_not_found(chat: Chat) -> None:
    """A model that is nowhere configured raises the SDK's own class."""
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        chat("no-such-model").invoke("Hello")


def test_a_broken_stream_raises(chat: Chat) -> None:
    """A stream without its last event never passes for a whole one."""
    heard: list[AIMessageChunk] = []
    with pytest.raises(openai.APIError, match="before it was complete"):
        heard.extend(chat("unfinished").stream("Hello"))
    assert heard
