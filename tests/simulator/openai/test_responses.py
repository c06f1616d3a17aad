from router_extproc.simulator import Faults
from tests.simulator.conftest import Client, Simulate


async def test_a_response_is_answered(simulate: Simulate, client: Client) -> None:
    """The SDK finds text and usage."""
    answer = await client(await simulate()).responses.create(model="gpt-4o", input="hello", instructions="be kind")
    assert answer.output_text.startswith("main (gpt-4o) simulated")
    assert answer.status == "completed"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_a_cut_response_says_so(simulate: Simulate, client: Client) -> None:
    """`max_output_tokens` makes it incomplete."""
    answer = await client(await simulate()).responses.create(model="gpt-4o", input="hello", max_output_tokens=2)
    assert answer.output_text == "main (gpt-4o)"
    assert answer.incomplete_details.reason == "max_output_tokens"


async def test_a_response_streams(simulate: Simulate, client: Client) -> None:
    """Events are numbered without a gap, their pieces join to the text, and the last holds the whole response."""
    stream = await client(await simulate(faults=Faults(tokens=4))).responses.create(model="gpt-4o", input="hello", stream=True)
    events = [event async for event in stream]
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert deltas == events[-1].response.output_text == "main (gpt-4o) simulated this"
    assert events[-1].response.usage.output_tokens == 4
