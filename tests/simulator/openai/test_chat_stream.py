import httpx
import pytest

from router_extproc.simulator import Faults
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import HELLO


async def test_a_stream_says_what_a_plain_answer_says(simulate: Simulate, client: Client) -> None:
    """The pieces joined are the whole, in events of one id."""
    sdk = client(await simulate())
    whole = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    events = [event async for event in await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)]
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole.choices[0].message.content
    assert events[0].choices[0].delta.role == "assistant"
    assert events[-1].choices[0].finish_reason == "stop"
    assert len({event.id for event in events}) == 1
    assert all(event.usage is None for event in events)


async def test_usage_comes_last_when_asked_for(simulate: Simulate, client: Client) -> None:
    """The final chunk has no choices and the usage of the whole answer."""
    sdk = client(await simulate())
    stream = await sdk.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    events = [event async for event in stream]
    plain = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert events[-1].choices == []
    assert events[-1].usage == plain.usage
    assert all(event.usage is None for event in events[:-1])


async def test_every_choice_streams(simulate: Simulate, client: Client) -> None:
    """With `n`, the events of all choices come interleaved."""
    sdk = client(await simulate(faults=Faults(tokens=3)))
    texts = {0: "", 1: ""}
    reasons = {}
    async for event in await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, n=2):
        choice = event.choices[0]
        texts[choice.index] += choice.delta.content or ""
        reasons[choice.index] = choice.finish_reason
    assert texts == {0: "main (gpt-4o) simulated", 1: "main (gpt-4o) simulated"}
    assert reasons == {0: "stop", 1: "stop"}


async def test_logprobs_stream_with_their_tokens(simulate: Simulate, client: Client) -> None:
    """Each event with content carries that token's log probability."""
    sdk = client(await simulate(faults=Faults(tokens=3, logprob=-0.7)))
    stream = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, logprobs=True)
    events = [event.choices[0] async for event in stream]
    told = [
        (choice.delta.content, choice.logprobs.content[0].token, choice.logprobs.content[0].logprob) for choice in events[1:-1]
    ]
    assert told == [("main", "main", -0.7), (" (gpt-4o)", " (gpt-4o)", -0.7), (" simulated", " simulated", -0.7)]


async def test_max_tokens_cuts_a_stream(simulate: Simulate, client: Client) -> None:
    """The last event says `length`."""
    sdk = client(await simulate())
    stream = await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, max_tokens=2)
    events = [event.choices[0] async for event in stream]
    assert "".join(choice.delta.content or "" for choice in events) == "main (gpt-4o)"
    assert events[-1].finish_reason == "length"


@pytest.mark.parametrize("faults", [Faults(), Faults(inter_token_ms=1)])
async def test_a_compressed_stream_reads_the_same(simulate: Simulate, faults: Faults) -> None:
    """Gzip changes the bytes on the wire and nothing else, and every event can be read as soon as it comes."""
    simulator = await simulate(faults=faults)
    request = {"model": "gpt-4o", "messages": HELLO, "stream": True}
    async with httpx.AsyncClient() as http:
        url = f"{simulator.base_url('main')}/chat/completions"
        compressed = await http.post(url, json=request)
        plain = await http.post(url, json=request, headers={"accept-encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.headers["content-type"].startswith("text/event-stream")
    assert compressed.text.count("\n\n") == plain.text.count("\n\n")
    assert compressed.text.endswith("data: [DONE]\n\n")
