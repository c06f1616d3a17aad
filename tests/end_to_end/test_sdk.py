"""The official SDK works unchanged behind another base URL: over plain HTTP, over TLS, and over TLS with HTTP/2."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.end_to_end.certificates import Authority
from tests.end_to_end.running import HELLO, Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

# `text-only` is the cheapest and can do nothing but talk: what needs more must not go there.
# The deadline is far away, because a machine that is busy with other tests must not decide what these see.
CONFIGURATION = """
analysis: {deadline: 5s}
providers:
  vision: {base_url: $vision/v1, models: [gpt-4o]}
  talker: {base_url: $talker/v1}
models:
  text-only:
    deployments: [{provider: talker, model: talker-7b}]
    tier: economy
    capabilities: []
    context_window: 8000
    prices: {input: 0.01, output: 0.02}
"""
LISTENER = """
listener: {port: LISTENER, tls: {certificate: CERTIFICATE, key: KEY}}
admin: {port: ADMIN}
envoy: {admin_port: ENVOY, concurrency: 2}
"""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
ASK_FOR_WEATHER = [{"role": "user", "content": "Please call get_weather for Oslo."}]


class Recipe(BaseModel):
    """What the model is to answer in."""

    title: str
    minutes: int
    difficulty: Literal["easy", "hard"]
    steps: list[str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    played = {"vision": {"models": ["gpt-4o"]}, "talker": {"models": ["talker-7b"]}}
    simulated = Simulators(tmp_path_factory.mktemp("providers"), played)
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def plain(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("plain"), simulators.fill(CONFIGURATION))) as instance:
        yield instance


@pytest.fixture(scope="module")
def secure(simulators: Simulators, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    certificate, key = authority.issue("127.0.0.1", "localhost")
    listener = LISTENER.replace("CERTIFICATE", str(certificate)).replace("KEY", str(key))
    configuration = listener + simulators.fill(CONFIGURATION)
    with running(Instance(tmp_path_factory.mktemp("secure"), configuration, scheme="https")) as instance:
        yield instance


@pytest.fixture(params=["plain", "tls", "tls-http2"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def instance(way: str, request: pytest.FixtureRequest) -> Instance:
    """The instance that is reached this way; the other one need not run for it."""
    chosen: Instance = request.getfixturevalue("plain" if way == "plain" else "secure")
    return chosen


@pytest.fixture
def client(way: str, instance: Instance, authority: Authority) -> Iterator[openai.OpenAI]:
    transport = openai.DefaultHttpxClient(verify=authority.client_context(), http2=way == "tls-http2", trust_env=False)
    with instance.client(http_client=transport) as client:
        yield client


def data_url(size: int) -> str:
    """A picture of about ``size`` bytes, written into the request itself."""
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(size * 3 // 4)).decode()


def picture(size: int) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data_url(size)}}]
    return [{"role": "user", "content": parts}]


def test_a_question_is_answered(client: openai.OpenAI) -> None:
    """A chat completion comes back whole, from the model that the headers name."""
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-router-model"] == "text-only"
    assert answer.model == "talker-7b"


def test_a_stream_says_the_same(client: openai.OpenAI) -> None:
    """A stream brings the plain answer piece by piece, and its usage in the last chunk where that was asked for."""
    whole = client.chat.completions.create(model="auto", messages=HELLO)
    with client.chat.completions.create(
        model="auto", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole.choices[0].message.content
    )
    assert len(chunks) > 5
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_stream_without_usage_has_none(client: openai.OpenAI) -> None:
    """Nobody asked for usage in the stream, so no chunk carries it: the router injects nothing that a client can see."""
    with client.chat.completions.create(model="auto", messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_tools_are_called_and_answered(client: openai.OpenAI) -> None:
    """A tool call comes back with arguments that fit its schema, and the tool's result can be sent on."""
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASK_FOR_WEATHER, tools=[WEATHER])
    assert raw.headers["x-router-model"] == "gpt-4o", "text-only cannot call tools"
    message = raw.parse().choices[0].message
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city", "unit"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain, 4 degrees"}
    history = [*ASK_FOR_WEATHER, message.model_dump(exclude_none=True), result]
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=history)
    assert raw.headers["x-router-model"] == "gpt-4o", "a conversation about tools needs a model that knows them"
    assert raw.parse().choices[0].finish_reason == "stop"


def test_tool_calls_are_streamed(client: openai.OpenAI) -> None:
    """The pieces of a streamed tool call join to the same arguments as a plain one's."""
    tools: Any = [WEATHER]
    with client.chat.completions.stream(model="auto", messages=ASK_FOR_WEATHER, tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments)["unit"] in {"celsius", "fahrenheit"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_is_seen_and_never_counted_as_text(client: openai.OpenAI, *, stream: bool) -> None:
    """A data URL of 200 kB goes to a model that sees, and its length does not count as text in the estimate."""
    messages: Any = picture(200_000)
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=messages, max_completion_tokens=100, stream=stream
    )
    assert raw.headers["x-router-model"] == "gpt-4o"
    assert raw.headers["x-router-reason"].startswith("auto:")
    # 200 kB of text are above 50,000 tokens: 0.125 USD on this model.
    assert 0.001 < float(raw.headers["x-router-cost-usd"]) < 0.01
    if not stream:
        assert raw.parse().choices[0].message.content
        return
    with raw.parse() as chunks:
        assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"


def test_several_choices(client: openai.OpenAI) -> None:
    """`n` brings so many choices, and the estimate counts each of them."""
    one = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_completion_tokens=50)
    three = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_completion_tokens=50, n=3)
    assert [choice.index for choice in three.parse().choices] == [0, 1, 2]
    assert float(three.headers["x-router-cost-usd"]) > 2 * float(one.headers["x-router-cost-usd"])


def test_logprobs(client: openai.OpenAI) -> None:
    """`logprobs` come back for every token, from a model that has them."""
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO, logprobs=True, top_logprobs=2)
    assert raw.headers["x-router-model"] == "gpt-4o"
    logprobs = raw.parse().choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in logprobs.content)


def test_structured_output(client: openai.OpenAI) -> None:
    """`response_format` with a JSON Schema yields what the SDK parses into the caller's own class."""
    answer = client.chat.completions.parse(model="auto", messages=HELLO, response_format=Recipe)
    recipe = answer.choices[0].message.parsed
    assert isinstance(recipe, Recipe)
    assert answer.model == "gpt-4o"


def test_what_the_sdk_sends_arrives(plain: Instance, simulators: Simulators) -> None:
    """The bytes that the SDK put on the wire are those that the provider gets, fields that nobody knows included."""
    sent: list[bytes] = []
    transport = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: sent.append(request.read())]})
    messages: Any = [*picture(20_000), {"role": "user", "content": "naïve — ☃ 😀 \u2028"}]
    tools: Any = [WEATHER]
    simulators.heal()
    with plain.client(http_client=transport) as client:
        client.chat.completions.create(
            model="gpt-4o",
            messages=messages,
            tools=tools,
            n=2,
            logprobs=True,
            temperature=0.1 + 0.2,
            extra_body={"x_unknown": {"nested": [None, 1e-7, {"deep": True}]}, "stream": None},
        )
        client.chat.completions.create(model="text-only", messages=HELLO, extra_body={"x_unknown": ["text-only"]})
    (kept,), (renamed,) = (simulators.requests(name) for name in ("vision", "talker"))
    assert base64.b64decode(kept["body_base64"]) == sent[0]
    assert base64.b64decode(renamed["body_base64"]) == sent[1].replace(b'"model":"text-only"', b'"model":"talker-7b"')


async def test_the_asynchronous_client(way: str, instance: Instance, authority: Authority) -> None:
    """Twenty requests at once over one asynchronous client, half of them streams, are all answered."""
    transport = openai.DefaultAsyncHttpxClient(verify=authority.client_context(), http2=way == "tls-http2", trust_env=False)
    client = openai.AsyncOpenAI(base_url=f"{instance.url}/v1", api_key="anything", max_retries=0, http_client=transport)

    async def plain() -> str:
        answer = await client.chat.completions.create(model="auto", messages=HELLO)
        return answer.choices[0].message.content or ""

    async def streamed() -> str:
        async with await client.chat.completions.create(model="auto", messages=HELLO, stream=True) as stream:
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with client:
        answers = await asyncio.gather(*(work() for _ in range(10) for work in (plain, streamed)))
    assert len(answers) == 20
    assert len(set(answers)) == 1
    assert answers[0]


def test_each_client_spoke_its_protocol(instance: Instance, client: openai.OpenAI, way: str) -> None:
    """By Envoy's own counters each client spoke the protocol that it was to be tested with."""
    prefix = "http.clients.downstream_"
    pattern = f"^{prefix}(rq_http[12]_total|cx_ssl_total)$"
    before = instance.envoy_figures(pattern)
    client.chat.completions.create(model="auto", messages=HELLO)
    after = instance.envoy_figures(pattern)
    grown = {name.removeprefix(prefix) for name, value in after.items() if value > before[name]}
    spoken = {
        "plain": {"rq_http1_total"},
        "tls": {"rq_http1_total", "cx_ssl_total"},
        "tls-http2": {"rq_http2_total", "cx_ssl_total"},
    }
    assert grown == spoken[way]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "provider", "answers"), [("gpt-4o", "vision", 2), ("text-only", "talker", 1)])
def test_the_common_path_takes_one_exchange(
    plain: Instance, simulators: Simulators, model: str, provider: str, answers: int, *, stream: bool
) -> None:
    """By Envoy's own counters a request costs one ext_proc stream and no attempt leg: headers and body go out at once, and
    come back together, as two messages or, where the model is renamed, as one.
    """
    pattern = r"ext_proc\.(streams_started|stream_msgs_sent|stream_msgs_received|streams_failed|failure_mode_allowed)$"
    simulators.heal()
    before = plain.envoy_figures(pattern)
    count = 10
    with plain.client() as client:
        for _ in range(count):
            answer = client.chat.completions.create(model=model, messages=HELLO, stream=stream)
            if stream:
                assert list(answer)[-1].choices[0].finish_reason == "stop"
    after = plain.envoy_figures(pattern)
    grown = {name.rpartition("ext_proc.")[2]: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {
        "streams_started": count,
        "stream_msgs_sent": 2 * count,
        "stream_msgs_received": answers * count,
    }
    assert not [name for name in after if name.startswith("cluster.") and after[name]], "an attempt leg ran"
    assert simulators.asked() == {provider: count}
