import asyncio
import contextlib

import httptools
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_extproc.simulator import Faults, Simulator
from tests.simulator.conftest import Simulate
from tests.simulator.conversation import CHAT, HELLO, ask, connected, post, read_response

STREAM = msgspec.json.encode({"model": "gpt-4o", "messages": HELLO, "stream": True})


async def test_a_connection_serves_one_request_after_another(simulate: Simulate) -> None:
    """Keep-alive is the default of HTTP/1.1."""
    simulator = await simulate()
    async with connected(simulator) as (reader, writer):
        for _ in range(3):
            writer.write(post(CHAT))
            assert (await read_response(reader)).status == 200
    assert simulator.statistics("main").connections == 1
    assert simulator.statistics("main").requests == 3


async def test_pipelined_requests_are_answered_in_order(simulate: Simulate) -> None:
    """A slow first answer holds back the quick ones behind it, control requests included."""
    simulator = await simulate(faults=(Faults(latency_ms=50, times=1), Faults(tokens=1)))
    async with connected(simulator) as (reader, writer):
        writer.write(post(CHAT) + post(STREAM) + b"GET /_simulator/stats HTTP/1.1\r\n\r\n" + post(b"{"))
        answers = [await read_response(reader) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 400]
    assert answers[0].json()["object"] == "chat.completion"
    assert answers[1].body.endswith(b"data: [DONE]\n\n")
    assert answers[2].json()["requests"] == 2


async def test_a_flood_of_pipelined_requests_is_read_no_faster_than_answered(simulate: Simulate) -> None:
    """Every one of two thousand is answered, though reading pauses in between."""
    simulator = await simulate(faults=(Faults(latency_ms=20, times=1), Faults()))
    async with connected(simulator) as (reader, writer):
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n" * 2000)
        answered = [0]

        class Count:
            def on_message_complete(self) -> None:
                answered[0] += 1

        parser = httptools.HttpResponseParser(Count())
        while answered[0] < 2000:
            parser.feed_data(await asyncio.wait_for(reader.read(65536), 5))
    assert simulator.statistics("main").by_status == {200: 2000}


async def test_chunked_bodies_are_joined(simulate: Simulate) -> None:
    """A body in chunks is the body, also where a chunk ends amid a word."""
    simulator = await simulate()
    pieces = [CHAT[:7], CHAT[7:30], CHAT[30:]]
    async with connected(simulator) as (reader, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert (await read_response(reader)).status == 200
    assert simulator.requests("main")[0].body() == CHAT


async def test_the_client_is_invited_to_send_its_body(simulate: Simulate) -> None:
    """Curl waits for 100 Continue before a large body."""
    async with connected(await simulate()) as (reader, writer):
        head, body = post(CHAT, headers="expect: 100-continue\r\n").split(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_response(reader)).status == 200


async def test_large_bodies_pass_and_larger_ones_get_413(simulate: Simulate) -> None:
    """20 MiB is served; what is over the limit is read to its end, so that the client can read the refusal."""
    simulator = await simulate(max_body_bytes=21 << 20)
    large = msgspec.json.encode({"model": "a", "messages": [{"role": "user", "content": "x" * (20 << 20)}]})
    assert (await ask(simulator, "POST", "/v1/chat/completions", large)).status == 200
    refused = await ask(simulator, "POST", "/v1/chat/completions", large + b" " * (2 << 20))
    assert (refused.status, refused.json()["error"]["code"]) == (413, "request_too_large")
    assert simulator.requests("main")[0].body_bytes == len(large)


async def test_an_old_client_reads_a_stream_until_the_connection_ends(simulate: Simulate) -> None:
    """HTTP/1.0 knows no chunks."""
    async with connected(await simulate()) as (reader, writer):
        writer.write(post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await asyncio.wait_for(reader.read(), 5)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


async def test_a_client_may_ask_for_the_end(simulate: Simulate) -> None:
    """`connection: close` is obeyed and echoed."""
    async with connected(await simulate()) as (reader, writer):
        writer.write(post(CHAT, headers="connection: close\r\n"))
        answer = await asyncio.wait_for(reader.read(), 5)
    assert b"connection: close" in answer


async def test_head_has_headers_only(simulate: Simulate) -> None:
    """A second answer on the connection starts where the first one's headers end."""
    async with connected(await simulate()) as (reader, writer):
        writer.write(b"HEAD /v1/models HTTP/1.1\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.write(b"GET /v1/models HTTP/1.1\r\n\r\n")
        body = (await read_response(reader)).body
    assert f"content-length: {len(body)}\r\n".encode() in head


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 300_000, 431),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_ends(simulate: Simulate, sent: bytes, status: int) -> None:
    """The client learns why, in an error object."""
    async with connected(await simulate()) as (reader, writer):
        writer.write(sent)
        response = await read_response(reader)
        assert response.status == status
        assert response.json()["error"]["message"]
        assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_a_slow_reader_holds_the_stream_back(simulate: Simulate) -> None:
    """The simulator renders no faster than the client reads, and the stream is whole in the end."""
    simulator = await simulate(faults=Faults(tokens=100_000))
    async with connected(simulator) as (reader, writer):
        writer.write(post(STREAM))
        start = await asyncio.wait_for(reader.readuntil(b"data: "), 5)
        while (ahead := simulator.requests("main")[0].tokens_sent) != await later_tokens(simulator):
            pass
        rest = b""
        while not rest.endswith(b"0\r\n\r\n"):
            rest = rest[-8:] + await asyncio.wait_for(reader.read(1 << 20), 5)
    assert start.startswith(b"HTTP/1.1 200")
    assert 0 < ahead < 100_000
    assert simulator.requests("main")[0].outcome == "complete"
    assert simulator.requests("main")[0].tokens_sent == 100_000


async def later_tokens(simulator: Simulator) -> int:
    """Let the loop turn often enough for a stream that is not held back to move."""
    for _ in range(20):
        await asyncio.sleep(0)
    return simulator.requests("main")[0].tokens_sent


REQUESTS = st.sampled_from(
    [post(CHAT), post(STREAM), post(b"{"), b"GET /v1/models HTTP/1.1\r\n\r\n", b"GET /_simulator/stats HTTP/1.1\r\n\r\n"]
)


@given(pieces=st.lists(st.binary(max_size=40) | REQUESTS | REQUESTS.map(lambda request: request[:40]), min_size=1, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_bytes_break_the_server(simulate: Simulate, pieces: list[bytes]) -> None:
    """Whatever one client sends, nothing is raised unhandled and the next client is served."""
    unhandled: list[dict] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    try:
        simulator = await simulate()
        async with connected(simulator) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)
        assert (await ask(simulator, "GET", "/v1/models")).status == 200
        await simulator.stop()
    finally:
        loop.set_exception_handler(None)
    assert unhandled == []
