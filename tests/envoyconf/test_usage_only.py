"""usage.lua in the real Envoy: the usage that only the router asked for does not reach the client, and all else does."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from tests.envoyconf.providers import EVENTS, Answer, Providers, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.tickets import ticket

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": [], "stream": True}
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"

pytestmark = pytest.mark.end_to_end


def injected(**more: object) -> dict[str, str]:
    return ticket("b", stream=True, metadata={"router.request": {"usage_injected": "1", **more}})


def ask(client: httpx.Client, headers: dict[str, str] | None = None) -> bytes:
    answer = client.post(CHAT, json=BODY, headers=injected() if headers is None else headers)
    assert answer.status_code == 200
    return answer.content


def test_usage_stays_here_and_reaches_the_log(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """The client sees the other events, byte for byte; the log has the counts."""
    providers.reset(b=stream(EVENT, EVENT, USAGE, DONE))
    answer = client.post(CHAT, json=BODY, headers=injected())
    assert answer.content == EVENT * 2 + DONE
    line = live.access_log(answer.headers["x-router-decision"])
    assert (line["prompt_tokens"], line["completion_tokens"], line["events"]) == (7, 3, 4)


def test_who_asked_gets_it(client: httpx.Client, providers: Providers) -> None:
    """Usage that the client asked for itself passes."""
    providers.reset(b=stream(EVENT, USAGE, DONE))
    assert ask(client, ticket("b", stream=True)) == EVENT + USAGE + DONE


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n"])
def test_wherever_the_network_cuts(client: httpx.Client, providers: Providers, ending: bytes) -> None:
    """At whatever byte the stream is cut, the same events come through."""
    whole = (EVENT + USAGE + DONE).replace(b"\n\n", ending)
    shown = (EVENT + DONE).replace(b"\n\n", ending)
    for cut in range(len(EVENT) - 3, len(whole), 2):
        providers.reset(b=stream(whole[:cut], whole[cut:], pause=0.002))
        assert ask(client) == shown, cut


def test_byte_by_byte(client: httpx.Client, providers: Providers) -> None:
    """Even one byte at a time."""
    whole = EVENT + USAGE + DONE
    providers.reset(b=stream(*(whole[place : place + 1] for place in range(len(whole))), pause=0.001))
    assert ask(client) == EVENT + DONE


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":"\\"choices\\":[],\\"usage\\":{}"}}],"usage":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n',
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":7}}\n\n',
        b": a comment\n\n",
        b"event: ping\ndata: {}\n\n",
    ],
)
def test_nothing_else_is_taken_away(client: httpx.Client, providers: Providers, event: bytes) -> None:
    """A text that speaks of usage, a filter's result, usage beside an answer: all of it is the client's."""
    providers.reset(b=stream(event, DONE))
    assert ask(client) == event + DONE


def test_spaces_do_not_matter(client: httpx.Client, providers: Providers) -> None:
    """JSON may be written with spaces, and more members beside the two."""
    usage = b'data: {"id": "1", "choices" : [ ], "usage" : {"prompt_tokens": 7}, "x": {}}\n\n'
    providers.reset(b=stream(EVENT + usage + DONE))
    assert ask(client) == EVENT + DONE


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_large_events_pass(client: httpx.Client, providers: Providers, size: int) -> None:
    """An event larger than what is held passes whole."""
    large = b'data: {"choices":[{"delta":{"content":"' + b"x" * size + b'"}}]}\n\n'
    providers.reset(b=stream(large, USAGE, DONE))
    assert ask(client) == large + DONE


def test_an_event_does_not_wait_for_the_next(client: httpx.Client, providers: Providers) -> None:
    """What is complete is shown at once."""
    providers.reset(b=stream(EVENT, EVENT, USAGE, DONE, pause=0.4))
    with client.stream("POST", CHAT, json=BODY, headers=injected()) as answer:
        times = [time.monotonic() for _ in answer.iter_raw()]
    assert len(times) >= 3
    assert times[1] - times[0] > 0.2
    assert times[2] - times[1] > 0.5


def test_half_an_event_at_the_end_is_shown(client: httpx.Client, providers: Providers) -> None:
    """A stream that stops inside an event shows what came of it, and that it is not whole."""
    providers.reset(b=stream(EVENT, b'data: {"choi'))
    content = ask(client)
    assert content.startswith(EVENT + b'data: {"choi\n\n')
    assert b"stream_incomplete" in content


def test_usage_as_the_very_last_is_taken_away(client: httpx.Client, providers: Providers) -> None:
    """Also where no event follows it, or its last line feed is missing; the error event still comes."""
    providers.reset(b=stream(EVENT, USAGE[:-1]))
    content = ask(client)
    assert content.startswith(EVENT + b'\ndata: {"error"')
    assert b"prompt_tokens" not in content


def test_stream_under_a_length(client: httpx.Client, providers: Providers) -> None:
    """A stream that came with a content-length does not promise bytes that were taken away."""
    providers.reset(b=stream(EVENT + USAGE + DONE, length=True))
    assert ask(client) == EVENT + DONE


def test_plain_answers_keep_their_usage(client: httpx.Client, providers: Providers) -> None:
    """Only streams are looked at."""
    content = json.dumps({"choices": [], "usage": {"prompt_tokens": 7}}).encode()
    providers.reset(b=Answer((content,), length=True))
    assert ask(client) == content


def test_compressed_streams_are_left_alone(client: httpx.Client, providers: Providers) -> None:
    """What cannot be read is passed on."""
    providers.reset(b=Answer((USAGE,), headers=(*EVENTS, ("content-encoding", "x-own"))))
    assert ask(client) == USAGE


def test_undecided_streams_are_left_alone(client: httpx.Client, providers: Providers) -> None:
    """Without a ticket nobody asked for anything."""
    providers.reset(a=stream(EVENT, USAGE, DONE))
    assert ask(client, {}) == EVENT + USAGE + DONE
