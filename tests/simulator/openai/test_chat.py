import json

import httpx
import openai
import pytest

from router_extproc.simulator import Faults, SimulatedDeployment
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import HELLO, ask

PIXEL = "data:image/png;base64," + "iVBORw0KGgo" * 1000


async def test_an_answer_names_its_deployment_and_model(simulate: Simulate, client: Client) -> None:
    """A test can tell from the text alone who answered, and the text is the same every time."""
    sdk = client(await simulate())
    first = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    second = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    text = first.choices[0].message.content
    assert text == "main (gpt-4o) simulated this answer: no provider was called and nothing was billed."
    assert second.choices[0].message.content == text
    assert first.model == "gpt-4o"
    assert first.choices[0].finish_reason == "stop"
    assert first.id.startswith("chatcmpl-")
    assert first.id != second.id
    assert first.system_fingerprint == second.system_fingerprint != None  # noqa: E711 -- one chain of comparisons
    assert first._request_id.startswith("req_")


async def test_usage_adds_up(simulate: Simulate, client: Client) -> None:
    """Prompt and completion tokens make the total, over all choices."""
    sdk = client(await simulate(faults=Faults(tokens=10)))
    usage = (await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, n=3)).usage
    assert usage.completion_tokens == 30
    assert usage.prompt_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + 30
    assert usage.prompt_tokens_details.cached_tokens == 0


async def test_n_gives_as_many_choices(simulate: Simulate, client: Client) -> None:
    """Choices are numbered from 0."""
    answer = await client(await simulate()).chat.completions.create(model="gpt-4o", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_token_limits_cut_the_answer(simulate: Simulate, client: Client, field: str) -> None:
    """Both names of the limit are obeyed, and the finish reason says so."""
    answer = await client(await simulate()).chat.completions.create(model="gpt-4o", messages=HELLO, **{field: 3})
    assert answer.choices[0].message.content == "main (gpt-4o) simulated"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


async def test_logprobs_come_with_their_alternatives(simulate: Simulate, client: Client) -> None:
    """Every token has the scripted log probability and as many alternatives as asked for, likeliest first."""
    sdk = client(await simulate(faults=Faults(logprob=-1.5, tokens=4)))
    answer = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == answer.choices[0].message.content
    assert [token.logprob for token in content] == [-1.5] * 4
    assert [other.logprob for other in content[0].top_logprobs] == [-1.5, -3.0, -4.5]
    assert content[0].top_logprobs[0].token == content[0].token
    assert bytes(content[0].bytes).decode() == content[0].token


async def test_a_picture_costs_the_same_however_long_its_data_url(simulate: Simulate, client: Client) -> None:
    """A data URL is no text."""
    sdk = client(await simulate())

    async def prompt_tokens(url: str) -> int:
        parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = await sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])
        return answer.usage.prompt_tokens

    assert await prompt_tokens(PIXEL) == await prompt_tokens("https://example.com/picture.png")


async def test_a_growing_conversation_is_cached(simulate: Simulate, client: Client) -> None:
    """The part of a long prompt that came before is reported as cached, in steps of 128 tokens."""
    sdk = client(await simulate())
    messages = [{"role": "system", "content": "a long rule. " * 500}, *HELLO]
    first = await sdk.chat.completions.create(model="gpt-4o", messages=messages)
    messages += [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}]
    second = await sdk.chat.completions.create(model="gpt-4o", messages=messages)
    other = await sdk.chat.completions.create(model="gpt-5", messages=messages)
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert 1024 <= cached < second.usage.prompt_tokens
    assert cached % 128 == 0
    assert other.usage.prompt_tokens_details.cached_tokens == 0


async def test_json_mode_gives_json(simulate: Simulate, client: Client) -> None:
    """`json_object` answers parse."""
    sdk = client(await simulate())
    answer = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, response_format={"type": "json_object"})
    assert "main (gpt-4o)" in json.loads(answer.choices[0].message.content)["answer"]


async def test_a_schema_is_obeyed(simulate: Simulate, client: Client) -> None:
    """`json_schema` answers have the schema's keys and types."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "number", "minimum": -90}},
        "required": ["city", "degrees"],
        "additionalProperties": False,
    }
    sdk = client(await simulate())
    answer = await sdk.chat.completions.create(
        model="gpt-4o",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": schema, "strict": True}},
    )
    value = json.loads(answer.choices[0].message.content)
    assert value == {"city": "main (gpt-4o) simulated this answer", "degrees": -90}


async def test_answers_can_be_of_any_size(simulate: Simulate, client: Client) -> None:
    """`answer_bytes` is the size of the body, exactly, and the SDK reads it."""
    size = 6 * 1024 * 1024
    simulator = await simulate(faults=Faults(answer_bytes=size))
    answer = await client(simulator).chat.completions.with_raw_response.create(
        model="gpt-4o", messages=HELLO, extra_headers={"accept-encoding": "identity"}
    )
    assert len(answer.content) == size
    assert answer.parse().choices[0].message.content.startswith("main (gpt-4o)")


async def test_an_unserved_model_is_404(simulate: Simulate, client: Client) -> None:
    """The SDK raises NotFoundError with OpenAI's code."""
    sdk = client(await simulate(SimulatedDeployment(name="main", models=("gpt-4o",))))
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.chat.completions.create(model="gpt-4.1", messages=HELLO)
    assert caught.value.code == "model_not_found"
    assert "`gpt-4.1` does not exist" in caught.value.message


async def test_a_wrong_key_is_401(simulate: Simulate, client: Client) -> None:
    """Only the keys of the deployment open it, and the refusal repeats none."""
    simulator = await simulate(SimulatedDeployment(name="main", api_keys=("sk-one", "sk-two")))
    with pytest.raises(openai.AuthenticationError) as caught:
        await client(simulator, api_key="sk-wrong").chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert "sk-wrong" not in caught.value.message
    assert await client(simulator, api_key="sk-two").chat.completions.create(model="gpt-4o", messages=HELLO)


async def test_a_prompt_beyond_the_window_is_400(simulate: Simulate, client: Client) -> None:
    """Prompt and wished answer together count against the window."""
    sdk = client(await simulate(SimulatedDeployment(name="main", context_window=100)))
    with pytest.raises(openai.BadRequestError, match="maximum context length is 100") as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "word " * 100}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="99 in the completion"):
        await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=99)
    assert await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=50)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (b"{", None, "could not parse the JSON body"),
        (b'{"model": "\xff"}', None, "could not parse the JSON body"),
        (b'{"messages": []}', None, "you must provide a model parameter"),
        (b'{"model": "a"}', "missing_required_parameter", "'messages'"),
        (b'{"model": "a", "messages": []}', "empty_array", "messages"),
        (b'{"model": "a", "messages": "hello"}', "invalid_type", "$.messages"),
        (b'{"model": "a", "messages": [{"role": "user"}], "n": 0}', "invalid_type", "$.n"),
        (b'{"model": "a", "messages": [{"role": "user"}], "stream_options": {}}', None, "stream_options"),
        (b'{"model": "a", "messages": [{"role": "user"}], "top_logprobs": 2}', None, "top_logprobs"),
        (b'{"model": "a", "messages": [{"role": "user"}], "tool_choice": "auto"}', None, "tool_choice"),
    ],
)
async def test_requests_that_break_the_rules_are_400(simulate: Simulate, body: bytes, code: str | None, says: str) -> None:
    """The error object has OpenAI's four fields, and the message tells what is wrong."""
    response = await ask(await simulate(), "POST", "/v1/chat/completions", body)
    error = response.json()["error"]
    assert response.status == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert says in error["message"]


async def test_unknown_fields_are_accepted(simulate: Simulate, client: Client) -> None:
    """A client newer than the simulator is served."""
    sdk = client(await simulate())
    assert await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body={"mood": {"is": "good"}})


async def test_rate_limits_are_told_and_enforced(simulate: Simulate, client: Client) -> None:
    """Headers count down; beyond the limit comes 429 with the time to wait."""
    sdk = client(await simulate(SimulatedDeployment(name="main", requests_per_minute=2)))
    remaining = []
    for _ in range(2):
        raw = await sdk.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        remaining.append(raw.headers["x-ratelimit-remaining-requests"])
    assert remaining == ["1", "0"]
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert 0 < int(headers["retry-after"]) <= 30
    assert headers["x-ratelimit-limit-requests"] == "2"


async def test_token_limits_per_minute_are_enforced(simulate: Simulate, client: Client) -> None:
    """Tokens of prompt and answer count together."""
    sdk = client(await simulate(SimulatedDeployment(name="main", tokens_per_minute=25)))
    await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    with pytest.raises(openai.RateLimitError) as caught:
        await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.type == "tokens"


async def test_gzip_is_given_only_when_asked_for(simulate: Simulate) -> None:
    """The same answer, compressed where the client accepts it."""
    simulator = await simulate()
    url = f"{simulator.base_url('main')}/chat/completions"
    request = {"model": "gpt-4o", "messages": HELLO}
    async with httpx.AsyncClient() as http:
        asked = await http.post(url, json=request)
        refused = await http.post(url, json=request, headers={"accept-encoding": "gzip;q=0, identity"})
    assert asked.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in refused.headers
    assert asked.json()["choices"] == refused.json()["choices"]


async def test_gzip_always_ignores_what_the_client_accepts(simulate: Simulate) -> None:
    """There are providers that compress regardless."""
    simulator = await simulate(faults=Faults(gzip="always"))
    response = await ask(simulator, "GET", "/v1/models", headers="accept-encoding: identity\r\n")
    assert response.headers["content-encoding"] == "gzip"
    assert response.body[:2] == b"\x1f\x8b"
