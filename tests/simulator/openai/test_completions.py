import openai
import pytest

from router_extproc.simulator import Faults
from tests.simulator.conftest import Client, Simulate


async def test_a_legacy_completion_is_answered(simulate: Simulate, client: Client) -> None:
    """Text, finish reason and usage are where old clients look for them."""
    answer = await client(await simulate()).completions.create(model="davinci", prompt="hello", max_tokens=3, logprobs=2)
    assert answer.choices[0].text == "main (davinci) simulated"
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].logprobs.tokens == ["main", " (davinci)", " simulated"]
    assert answer.choices[0].logprobs.text_offset == [0, 4, 14]
    assert len(answer.choices[0].logprobs.top_logprobs[0]) == 2
    assert answer.usage.completion_tokens == 3


async def test_each_prompt_gets_its_choices(simulate: Simulate, client: Client) -> None:
    """Two prompts with `n` 2 make four choices."""
    answer = await client(await simulate()).completions.create(model="davinci", prompt=["one", "two"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


async def test_a_legacy_completion_streams(simulate: Simulate, client: Client) -> None:
    """The pieces join to the text, and usage comes last where asked for."""
    stream = await client(await simulate(faults=Faults(tokens=4))).completions.create(
        model="davinci", prompt=[1, 2, 3], stream=True, stream_options={"include_usage": True}
    )
    events = [event async for event in stream]
    assert "".join(event.choices[0].text for event in events[:-1]) == "main (davinci) simulated this"
    assert (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens) == (3, 4)


async def test_a_prompt_of_another_kind_is_400(simulate: Simulate, client: Client) -> None:
    """Only texts and tokens are prompts."""
    with pytest.raises(openai.BadRequestError, match="Expected a string"):
        await client(await simulate()).completions.create(model="davinci", prompt=[{"a": 1}])
