"""Streams that stall, break or end too soon: the client gets a whole answer or an exception, never half of one as a whole."""

from __future__ import annotations

import time
from typing import Any

import httpx
import openai
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms}
providers:
  alpha: {base_url: $alpha/v1}
  beta: {base_url: $beta/v1}
models:
  first: {deployments: [{provider: alpha}]}
  second: {deployments: [{provider: beta}]}
routes:
  ordinary: {targets: [first, second]}
  awaited: {targets: [first, second], timeouts: {first_token: 50s}}
  impatient: {targets: [first, second], timeouts: {first_token: 1s}}
  alone: {targets: [first], same_tier: false, timeouts: {first_token: 300ms, stream_idle: 3s}}
  idle: {targets: [first, second], timeouts: {stream_idle: 1200ms}}
  checked: {targets: [first, second], check: {answer: true}}
"""

ROUTES = ["ordinary", "awaited", "checked"]
"""Without an attempt leg, with one that waits for the first token, and with one that judges the answer."""

BROKEN = (openai.APIError, httpx.TransportError)
"""What the SDK raises amid a stream: its own exceptions for events, those of its transport for a broken connection."""

SIMULATED = {"alpha": {}, "beta": {}}


class Reader:
    """Reads a stream as a program does, and keeps what came."""

    def __init__(self, client: openai.OpenAI, model: str, **options: Any) -> None:
        self.pieces: list[str] = []
        self.finish_reason: str | None = None
        self._client, self._options = client, {"model": model, "messages": HELLO, "stream": True, **options}

    def read(self) -> httpx.Headers:
        """To the end."""
        stream = self._client.chat.completions.create(**self._options)
        with stream:
            for chunk in stream:
                for choice in chunk.choices:
                    if choice.delta.content:
                        self.pieces.append(choice.delta.content)
                    self.finish_reason = choice.finish_reason or self.finish_reason
        headers: httpx.Headers = stream.response.headers
        return headers

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def test_a_stall_before_the_first_token_moves_on(instance: Instance, simulators: Simulators, client: openai.OpenAI) -> None:
    """Where the route sets `first_token`, a stream that opened and stays silent is left for the next: nothing of it is seen."""
    simulators.faults("alpha", stall_after_tokens=0)
    reader = Reader(client, "impatient")
    headers = reader.read()
    assert (reader.text.split()[0], reader.finish_reason) == ("beta", "stop")
    assert (headers["x-router-deployment"], headers["x-router-fallback-from"]) == ("beta/second", "alpha/first")
    stalled, served = instance.decision(headers["x-router-decision"])["attempts"]
    assert (stalled["cause"], served["cause"], served["status"]) == ("first_token_timeout", "none", 200)
    assert stalled["total_ms"] >= 1_000
    # The stalled stream is closed, not left to run.
    until(lambda: simulators.stats("alpha")["by_outcome"].get("client_closed") == 1)


def test_a_first_token_in_time_is_waited_for(instance: Instance, simulators: Simulators, client: openai.OpenAI) -> None:
    """A stream that is slow but not too slow is the answer, also when its later tokens take longer than the first may."""
    simulators.faults("alpha", first_token_ms=100, inter_token_ms=300, tokens=5)
    reader = Reader(client, "impatient")
    headers = reader.read()
    assert (headers["x-router-attempts"], len(reader.pieces), reader.finish_reason) == ("1", 5, "stop")
    assert simulators.asked() == {"alpha": 1}


def test_the_last_place_is_waited_for(instance: Instance, simulators: Simulators, client: openai.OpenAI) -> None:
    """With nowhere to go on to, a late first token is better than none."""
    simulators.faults("alpha", stall_after_tokens=0, stall=1.0)
    reader = Reader(client, "alone")
    headers = reader.read()
    assert (headers["x-router-attempts"], reader.finish_reason) == ("1", "stop")


def test_a_plain_call_is_not_held_to_the_first_token(instance: Instance, simulators: Simulators) -> None:
    """Only streams have a first token: a plain answer may take its time."""
    simulators.faults("alpha", first_token_ms=1_300)
    answer = instance.ask("impatient")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1")


def test_a_stall_late_in_a_stream_ends_as_soon_as_an_early_one(simulators: Simulators, client: openai.OpenAI) -> None:
    """The idle timeout counts from the last piece, also when the stream has run for longer than an attempt may wait."""
    simulators.faults("alpha", inter_token_ms=200, stall_after_tokens=9, tokens=20)
    reader = Reader(client, "idle")
    started = time.monotonic()
    with pytest.raises(BROKEN):
        reader.read()
    assert len(reader.pieces) >= 9
    # 1.6 s of tokens, 1.2 s of silence; the client's own backstop would come after 9 s of silence.
    assert 2.5 < time.monotonic() - started < 9


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("route", ["idle", "alone"])
def test_elsewhere_a_stall_ends_by_the_idle_timeout(
    simulators: Simulators, client: openai.OpenAI, route: str, after: int
) -> None:
    """A stream that falls silent for good is ended, and the SDK raises: after what came, without a finish reason."""
    simulators.faults("alpha", stall_after_tokens=after, tokens=9)
    reader = Reader(client, route)
    with pytest.raises(BROKEN):
        reader.read()
    assert (len(reader.pieces), reader.finish_reason) == (after, None)
    assert simulators.asked() == {"alpha": 1}


@pytest.mark.parametrize("cut", ["reset", "close"])
@pytest.mark.parametrize("after", [1, 5])
@pytest.mark.parametrize("route", ROUTES)
def test_a_cut_amid_the_stream_raises(
    simulators: Simulators, client: openai.OpenAI, *, route: str, after: int, cut: str
) -> None:
    """A connection that breaks after some tokens is an exception, never the end of a short answer."""
    simulators.faults("alpha", cut_after_tokens=after, cut=cut, tokens=9)
    reader = Reader(client, route)
    with pytest.raises(BROKEN):
        reader.read()
    assert (len(reader.pieces), reader.finish_reason) == (after, None)
    assert simulators.asked() == {"alpha": 1}, "what the client has seen part of is not begun again"


@pytest.mark.parametrize("cut", ["reset", "close"])
def test_a_cut_before_the_first_token_raises(simulators: Simulators, client: openai.OpenAI, cut: str) -> None:
    """Headers alone are no answer: the SDK raises."""
    simulators.faults("alpha", cut_after_tokens=0, cut=cut)
    reader = Reader(client, "ordinary")
    with pytest.raises(BROKEN):
        reader.read()
    assert reader.pieces == []


@pytest.mark.parametrize("cut", ["reset", "close"])
@pytest.mark.parametrize("route", ["awaited", "checked"])
def test_a_cut_before_the_first_token_moves_on_where_headers_are_held(
    simulators: Simulators, client: openai.OpenAI, route: str, cut: str
) -> None:
    """While the attempt leg waits for the first token the client has seen nothing: the next deployment answers."""
    simulators.faults("alpha", cut_after_tokens=0, cut=cut)
    reader = Reader(client, route)
    headers = reader.read()
    assert (headers["x-router-deployment"], headers["x-router-attempts"]) == ("beta/second", "2")
    assert (reader.text.split()[0], reader.finish_reason) == ("beta", "stop")


@pytest.mark.parametrize("cut", ["reset", "close"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_cut_amid_a_plain_answer_raises(simulators: Simulators, client: openai.OpenAI, route: str, cut: str) -> None:
    """Half a JSON document never looks like an answer."""
    simulators.faults("alpha", cut_after_tokens=4, cut=cut)
    simulators.faults("beta", cut_after_tokens=4, cut=cut)
    with pytest.raises(openai.APIError):
        client.chat.completions.create(model=route, messages=HELLO)  # type: ignore[call-overload]


@pytest.mark.parametrize("end", ["before_done", "before_finish"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_stream_that_ends_too_soon_becomes_an_error(
    simulators: Simulators, client: openai.OpenAI, route: str, end: str
) -> None:
    """A clean end without the last event is turned into an error event that says so; all tokens came before it."""
    simulators.faults("alpha", end_early=end, tokens=9)
    reader = Reader(client, route)
    with pytest.raises(openai.APIError) as caught:
        reader.read()
    assert (caught.value.code, len(reader.pieces)) == ("stream_incomplete", 9)
    assert reader.finish_reason == ("stop" if end == "before_done" else None)


def test_the_error_event_follows_whole_events(instance: Instance, simulators: Simulators) -> None:
    """The appended event is one of its own, in the shape of the API's errors."""
    simulators.faults("alpha", end_early="before_done", tokens=2)
    answer = instance.ask("ordinary", stream=True)
    *events, last, rest = answer.text.split("\n\n")
    assert (answer.status_code, rest) == (200, "")
    assert all(event.startswith('data: {"id":') for event in events)
    assert last == (
        'data: {"error":{"message":"The provider ended the stream before it was complete.",'
        '"type":"server_error","param":null,"code":"stream_incomplete"}}'
    )


@pytest.mark.parametrize("route", ROUTES)
def test_a_whole_stream_is_left_alone(instance: Instance, simulators: Simulators, route: str) -> None:
    """A stream with all its events passes byte for byte, whatever its length and pace."""
    simulators.faults("alpha", tokens=400)
    through = instance.ask(route, stream=True, stream_options={"include_usage": True}).text
    events = through.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert sum('"content":' in event for event in events) >= 400
    assert "error" not in through


@pytest.mark.parametrize("accept", ["gzip", "gzip, deflate, br", "identity"])
@pytest.mark.parametrize("end", ["before_done", "before_finish"])
def test_a_client_that_asks_for_compression_changes_nothing(
    instance: Instance, simulators: Simulators, end: str, accept: str
) -> None:
    """SDKs ask for gzip; the provider is asked for none, so the missing end is seen all the same."""
    simulators.faults("alpha", end_early=end, gzip="asked")
    with instance.http() as http:
        body = {"model": "ordinary", "messages": HELLO, "stream": True}
        answer = http.post(CHAT, json=body, headers={"accept-encoding": accept})
    assert "stream_incomplete" in answer.text
    (request,) = simulators.requests("alpha")
    assert dict(request["headers"])["accept-encoding"] == "identity"


@pytest.mark.parametrize("end", ["before_done", "before_finish"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_provider_that_always_compresses_changes_nothing(
    simulators: Simulators, client: openai.OpenAI, route: str, end: str
) -> None:
    """Also a stream that comes compressed unasked is an error when it ends too soon."""
    simulators.faults("alpha", end_early=end, tokens=9, gzip="always")
    reader = Reader(client, route)
    with pytest.raises(openai.APIError) as caught:
        reader.read()
    assert (caught.value.code, len(reader.pieces)) == ("stream_incomplete", 9)


@pytest.mark.parametrize("route", ROUTES)
def test_compressed_answers_are_answers(instance: Instance, simulators: Simulators, client: openai.OpenAI, route: str) -> None:
    """A provider that compresses unasked serves streams and plain calls at the first attempt, and usage is counted."""
    simulators.faults("alpha", tokens=9, gzip="always")
    reader = Reader(client, route, stream_options={"include_usage": True})
    headers = reader.read()
    assert (headers["x-router-attempts"], len(reader.pieces), reader.finish_reason) == ("1", 9, "stop")
    assert instance.decision(headers["x-router-decision"])["usage"]["completion_tokens"] == 9
    answer = client.chat.completions.with_raw_response.create(model=route, messages=HELLO)  # type: ignore[call-overload]
    assert answer.parse().usage.completion_tokens == 9
    assert answer.headers["x-router-attempts"] == "1"
    assert instance.decision(answer.headers["x-router-decision"])["usage"]["completion_tokens"] == 9


@pytest.mark.parametrize("cut", ["reset", "close"])
def test_a_compressed_stream_that_breaks_raises(simulators: Simulators, client: openai.OpenAI, cut: str) -> None:
    """A cut is seen in a compressed stream as in any other."""
    simulators.faults("alpha", cut_after_tokens=5, cut=cut, tokens=9, gzip="always")
    reader = Reader(client, "ordinary")
    with pytest.raises(BROKEN):
        reader.read()
    assert reader.finish_reason is None
