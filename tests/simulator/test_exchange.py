"""Each fault as a client meets it, through the SDK where the SDK can tell."""

import asyncio
import time

import httpx
import openai
import pytest

from router_extproc.simulator import Faults, Simulator
from router_extproc.simulator.answers import Usage
from tests.simulator.conftest import Client, Simulate
from tests.simulator.conversation import CHAT, HELLO, ask, connected, post, until

STREAM = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}],"stream":true}'


async def chat(sdk: openai.AsyncOpenAI, **options: object) -> object:
    return await sdk.chat.completions.create(model="gpt-4o", messages=HELLO, **options)


async def collect(sdk: openai.AsyncOpenAI, text: list[str]) -> str | None:
    """Append the pieces of a stream as they come; return the finish reason."""
    reason = None
    async for event in await chat(sdk, stream=True):
        text.append(event.choices[0].delta.content or "")
        reason = event.choices[0].finish_reason
    return reason


async def text_until_it_breaks(simulator: Simulator, body: bytes) -> tuple[httpx.Response, str, Exception | None]:
    """Read as much of an answer as comes."""
    received = b""
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream(
            "POST", f"{simulator.base_url('main')}/chat/completions", content=body, headers={"accept-encoding": "identity"}
        ) as response,
    ):
        try:
            async for piece in response.aiter_raw():
                received += piece
        except httpx.TransportError as error:
            return response, received.decode(), error
    return response, received.decode(), None


# Pace


async def test_latency_comes_before_the_headers(simulate: Simulate) -> None:
    """Nothing is sent before its time."""
    simulator = await simulate(faults=Faults(latency_ms=60))
    started = time.monotonic()
    await ask(simulator, "GET", "/v1/models")
    assert time.monotonic() - started >= 0.059


async def test_a_stream_takes_its_time(simulate: Simulate) -> None:
    """The first token comes after `first_token_ms`, then one every `inter_token_ms`, none of them early."""
    simulator = await simulate(faults=Faults(tokens=4, first_token_ms=120, inter_token_ms=30))
    started = time.monotonic()
    arrivals: list[float] = []
    async with connected(simulator) as (reader, writer):
        writer.write(post(STREAM))
        for _ in range(5):
            await reader.readuntil(b'"delta":{')
            arrivals.append(time.monotonic() - started)
    assert [arrival >= due for arrival, due in zip(arrivals, (0.119, 0.119, 0.148, 0.177, 0.206), strict=True)] == [True] * 5


async def test_a_stream_opens_before_its_first_token(simulate: Simulate) -> None:
    """Headers do not wait for the model."""
    simulator = await simulate(faults=Faults(first_token_ms=45_000))
    async with connected(simulator) as (reader, writer):
        writer.write(post(STREAM))
        assert b"text/event-stream" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert simulator.statistics("main").open_streams == 1


async def test_a_plain_answer_takes_as_long_as_its_tokens(simulate: Simulate, client: Client) -> None:
    """A whole answer comes when a stream would have ended."""
    sdk = client(await simulate(faults=Faults(tokens=4, first_token_ms=40, inter_token_ms=20)))
    started = time.monotonic()
    await chat(sdk)
    assert time.monotonic() - started >= 0.099


async def test_a_hang_sends_nothing(simulate: Simulate, client: Client) -> None:
    """A client that waits forever gives up by itself, and that is what the record says."""
    simulator = await simulate(faults=Faults(hang="forever"))
    with pytest.raises(openai.APITimeoutError):
        await chat(client(simulator, timeout=0.3))
    await ended(simulator)
    [request] = simulator.requests("main")
    assert (request.status, request.outcome, request.billed.prompt_tokens) == (None, "client_closed", 0)


async def test_a_hang_for_a_while_ends_well(simulate: Simulate, client: Client) -> None:
    """Seconds of silence, then the answer."""
    started = time.monotonic()
    assert await chat(client(await simulate(faults=Faults(hang=0.05))))
    assert time.monotonic() - started >= 0.049


async def test_a_thousand_waiting_streams_cost_little(simulate: Simulate) -> None:
    """They are all open at once, none has a task, and all end when the clients go."""
    simulator = await simulate(faults=Faults(first_token_ms=45_000))
    tasks_before = len(asyncio.all_tasks())
    streams = [await asyncio.open_connection("127.0.0.1", simulator.port("main")) for _ in range(400)]
    for reader, writer in streams:
        writer.write(post(STREAM))
        await reader.readuntil(b"\r\n\r\n")
    assert simulator.statistics("main").open_streams == 400
    assert len(asyncio.all_tasks()) == tasks_before
    for _, writer in streams:
        writer.close()
    await ended(simulator)
    assert simulator.statistics("main").by_outcome == {"client_closed": 400}
    assert simulator.statistics("main").peak_open_streams == 400


# Errors


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (504, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_status_is_the_sdk_s_exception(
    simulate: Simulate, client: Client, status: int, raised: type[openai.APIStatusError], *, stream: bool
) -> None:
    """Streams fail with a plain error too."""
    with pytest.raises(raised) as caught:
        await chat(client(await simulate(faults=Faults(status=status))), stream=stream)
    assert caught.value.status_code == status


async def test_a_gateway_error_is_a_page(simulate: Simulate) -> None:
    """502 comes from the proxy before the API, which does not speak JSON."""
    response = await ask(await simulate(faults=Faults(status=502)), "POST", "/v1/chat/completions", CHAT)
    assert response.headers["content-type"] == "text/html"
    assert b"502 Bad Gateway" in response.body


async def test_retry_after_goes_with_an_error(simulate: Simulate) -> None:
    """Also the headers that tell of the limit, and the code that tells a full quota from a fast client."""
    simulator = await simulate(faults=Faults(status=429, retry_after=2, error_code="insufficient_quota"))
    response = await ask(simulator, "POST", "/v1/chat/completions", CHAT)
    assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("2", "2000")
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert response.json()["error"]["code"] == "insufficient_quota"


async def test_the_sdk_retries_past_a_fault_that_ends(simulate: Simulate, client: Client) -> None:
    """`times` faults come first, then the provider is well."""
    simulator = await simulate(faults=Faults(status=503, retry_after=0.001, times=2))
    assert await chat(client(simulator, max_retries=2))
    assert simulator.statistics("main").by_status == {503: 2, 200: 1}


async def test_a_context_length_can_be_exceeded_on_purpose(simulate: Simulate, client: Client) -> None:
    """However short the prompt."""
    with pytest.raises(openai.BadRequestError) as caught:
        await chat(client(await simulate(faults=Faults(context_length_exceeded=True))))
    assert caught.value.code == "context_length_exceeded"


async def test_a_server_may_know_only_an_older_api(simulate: Simulate, client: Client) -> None:
    """A request with a member that it does not know is refused by its name; others are not, nor what is no JSON."""
    simulator = await simulate(faults=Faults(unknown_members=("stream_options", "tools")))
    with pytest.raises(openai.BadRequestError, match="stream_options") as caught:
        await client(simulator).chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True, stream_options={"include_usage": True}
        )
    assert (caught.value.param, caught.value.code) == ("stream_options", "unknown_parameter")
    assert await chat(client(simulator), stream=True)
    broken = await ask(simulator, "POST", "/v1/chat/completions", b'{"stream_options"')
    assert b"stream_options" not in broken.body


async def test_headers_are_set_and_replaced(simulate: Simulate) -> None:
    """Whatever the simulator would have sent under that name; a value cannot smuggle in a header of its own."""
    simulator = await simulate(faults=Faults(response_headers={"X-Request-Id": "mine", "x-new": "a\r\nx-smuggled: b"}))
    async with connected(simulator) as (reader, writer):
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n")
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    assert [line for line in lines if line.startswith(b"x-request-id")] == [b"x-request-id: mine"]
    assert b"x-new: a  x-smuggled: b" in lines


# Answers that go wrong


@pytest.mark.parametrize("cut", ["reset", "close"])
async def test_a_cut_stream_raises_after_its_tokens(simulate: Simulate, client: Client, cut: str) -> None:
    """The tokens before the cut arrive; the SDK then raises instead of ending."""
    simulator = await simulate(faults=Faults(cut_after_tokens=2, cut=cut))
    text = []
    with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
        await collect(client(simulator), text)
    [request] = simulator.requests("main")
    assert "".join(text) == "main (gpt-4o)"
    assert (request.outcome, request.tokens_sent, request.billed.completion_tokens) == ("cut", 2, 2)


async def test_a_cut_at_0_leaves_the_headers(simulate: Simulate) -> None:
    """200 and not one event."""
    response, text, error = await text_until_it_breaks(await simulate(faults=Faults(cut_after_tokens=0)), STREAM)
    assert (response.status_code, text) == (200, "")
    assert error is not None


async def test_a_cut_beyond_the_end_still_cuts(simulate: Simulate) -> None:
    """A fault that was asked for is never left out: all tokens come, the end does not."""
    _, text, error = await text_until_it_breaks(await simulate(faults=Faults(cut_after_tokens=999)), STREAM)
    assert "billed." in text
    assert '"stop"' not in text
    assert error is not None


async def test_a_plain_answer_is_cut_amid_its_body(simulate: Simulate) -> None:
    """Less than `content-length` promised."""
    response, text, error = await text_until_it_breaks(await simulate(faults=Faults(cut_after_tokens=6)), CHAT)
    assert 0 < len(text) < int(response.headers["content-length"])
    assert error is not None


@pytest.mark.parametrize("tokens", [0, 2, 999])
async def test_a_stalled_stream_stays_silent(simulate: Simulate, tokens: int) -> None:
    """After its tokens nothing comes and nothing ends, until the client goes."""
    simulator = await simulate(faults=Faults(stall_after_tokens=tokens))
    async with connected(simulator) as (reader, writer):
        writer.write(post(STREAM))
        reading = asyncio.create_task(read_into(reader, received := bytearray()))
        await until(lambda: received.count(b'"delta":{"content"') == min(tokens, 13) and b"\r\n\r\n" in received)
        so_far = bytes(received)
        await asyncio.sleep(0.1)
        assert not reading.done()
        reading.cancel()
    await ended(simulator)
    assert received == so_far
    assert received.startswith(b"HTTP/1.1 200")
    assert simulator.requests("main")[0].outcome == "client_closed"


async def test_a_stall_for_a_while_ends_well(simulate: Simulate, client: Client) -> None:
    """The stream goes on where it stopped."""
    simulator = await simulate(faults=Faults(stall_after_tokens=2, stall=0.05))
    started = time.monotonic()
    text = []
    assert await collect(client(simulator), text) == "stop"
    assert time.monotonic() - started >= 0.049
    assert "".join(text).endswith("billed.")


async def test_a_plain_answer_stalls_amid_its_body_and_goes_on(simulate: Simulate, client: Client) -> None:
    """Half a body, silence, the rest."""
    started = time.monotonic()
    assert await chat(client(await simulate(faults=Faults(stall_after_tokens=6, stall=0.05))))
    assert time.monotonic() - started >= 0.049


@pytest.mark.parametrize(("how", "ends_with_reason"), [("before_done", True), ("before_finish", False)])
async def test_a_stream_can_end_early_and_cleanly(simulate: Simulate, how: str, *, ends_with_reason: bool) -> None:
    """The transfer is whole, yet `[DONE]` is missing."""
    _, text, error = await text_until_it_breaks(await simulate(faults=Faults(end_early=how)), STREAM)
    assert error is None
    assert "[DONE]" not in text
    assert "billed." in text
    assert ('"finish_reason":"stop"' in text) is ends_with_reason


@pytest.mark.parametrize("how", ["broken", "truncated"])
async def test_a_malformed_answer_is_200_and_no_json(simulate: Simulate, how: str) -> None:
    """Whole as HTTP, and useless."""
    response = await ask(await simulate(faults=Faults(malformed=how)), "POST", "/v1/chat/completions", CHAT)
    assert response.status == 200
    assert len(response.body) == int(response.headers["content-length"])
    with pytest.raises(ValueError, match=r"malformed|truncated"):
        response.json()


@pytest.mark.parametrize("how", ["broken", "truncated"])
async def test_a_malformed_stream_makes_the_sdk_raise(simulate: Simulate, client: Client, how: str) -> None:
    """The events are well framed; the JSON within is not."""
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        await collect(client(await simulate(faults=Faults(malformed=how))), [])


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_an_empty_answer_is_200_without_a_body(simulate: Simulate, body: bytes) -> None:
    """Plain or stream."""
    response, text, error = await text_until_it_breaks(await simulate(faults=Faults(empty=True)), body)
    assert (response.status_code, text, error) == (200, "", None)


async def test_a_client_that_goes_pays_for_what_was_made(simulate: Simulate) -> None:
    """The prompt, and the tokens sent until then."""
    simulator = await simulate(faults=Faults(stall_after_tokens=3))
    async with connected(simulator) as (reader, writer):
        writer.write(post(STREAM))
        await reader.readuntil(b"simulated")
    await ended(simulator)
    [request] = simulator.requests("main")
    assert request.billed.completion_tokens == 3
    assert request.billed.prompt_tokens > 0
    assert simulator.statistics("main").completion_tokens == 3


async def test_a_client_that_does_not_wait_for_a_whole_answer_pays_for_it(simulate: Simulate, client: Client) -> None:
    """The model was at work, and goes on: the same as if its answer had arrived."""
    simulator = await simulate(faults=[Faults(times=1), Faults(first_token_ms=60_000)])
    sdk = client(simulator)
    await chat(sdk)
    with pytest.raises(openai.APITimeoutError):
        await chat(sdk.with_options(timeout=0.3))
    await ended(simulator)
    waited, left = simulator.requests("main")
    assert (left.status, left.outcome, left.tokens_sent) == (None, "client_closed", 0)
    assert left.billed == waited.billed
    assert left.billed.completion_tokens > 0


async def test_a_client_that_leaves_before_the_model_began_pays_nothing(simulate: Simulate, client: Client) -> None:
    """Its request had not been taken up."""
    simulator = await simulate(faults=Faults(latency_ms=60_000, first_token_ms=10))
    with pytest.raises(openai.APITimeoutError):
        await chat(client(simulator, timeout=0.3))
    await ended(simulator)
    [request] = simulator.requests("main")
    assert (request.status, request.billed) == (None, Usage())


async def read_into(reader: asyncio.StreamReader, received: bytearray) -> None:
    """Read until the connection ends."""
    while piece := await reader.read(65536):
        received += piece


async def ended(simulator: Simulator) -> None:
    """Wait until nothing is open."""
    await until(lambda: not simulator.statistics("main").open_requests)
