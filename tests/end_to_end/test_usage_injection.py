"""Where money is counted a stream is asked for its usage; who did not ask for it sees the stream as ever."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED = {"one": {"models": ["small", "other"]}, "two": {"models": ["small", "other"]}}
CONFIGURATION = """
providers: {one: {base_url: "$one/v1"}, two: {base_url: "$two/v1"}}
models:
  small: {prices: {input: 1, output: 2}, deployments: [{provider: one}, {provider: two}]}
  # Of its own, so that what rests after one test is asked in another.
  other: {prices: {input: 1, output: 2}, deployments: [{provider: one}, {provider: two}]}
routes:
  auto: {targets: [small]}
  judged: {targets: [{deployment: one/other}, {deployment: two/other}], check: {answer: true}}
budgets: {house: {usd: 1000, window: month}}
cooling: {failures: 1000, failure_ratio: 1.0}
"""


def lines(instance: Instance, decision: str) -> list[dict[str, Any]]:
    """The lines of one request in Envoy's access log, once its own is there."""

    def found() -> list[dict[str, Any]] | None:
        written = instance.access_lines()
        mine = sorted((line for line in written if line["decision"] == decision), key=lambda line: str(line["kind"]))
        return mine if mine and mine[-1]["kind"] == "request" else None

    result: list[dict[str, Any]] = until(found)
    return result


def events(text: str) -> list[Any]:
    """The events of a stream but its last, ``[DONE]``."""
    *pieces, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


@pytest.mark.parametrize("model", ["auto", "judged"])
def test_a_client_that_did_not_ask_sees_no_usage(instance: Instance, simulators: Simulators, model: str) -> None:
    """The provider was asked for it, the log has it, and no event without an answer reaches the client."""
    answer = instance.ask(model, stream=True)
    told = events(answer.text)
    assert told
    assert all(event["choices"] for event in told)
    sent = next(name for name in simulators.ports if simulators.asked().get(name))
    assert simulators.bodies(sent)[0]["stream_options"] == {"include_usage": True}
    request = lines(instance, answer.headers["x-router-decision"])[-1]
    billed = simulators.requests(sent)[0]["billed"]
    assert (request["prompt_tokens"], request["completion_tokens"]) == (billed["prompt_tokens"], billed["completion_tokens"])
    assert request["events"] == len(told) + 2


def test_a_client_that_asked_gets_it(instance: Instance, client: openai.OpenAI) -> None:
    """What the client wished for itself is passed on."""
    wish: Any = {"include_usage": True}
    *_, last = client.chat.completions.create(model="auto", messages=HELLO, stream=True, stream_options=wish)  # type: ignore[call-overload]
    assert last.choices == []
    assert last.usage.prompt_tokens > 0


def test_the_sdk_reads_the_stream_as_ever(client: openai.OpenAI) -> None:
    """Clients that take the first choice of every event do not fail."""
    stream = client.chat.completions.create(model="auto", messages=HELLO, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def test_after_a_failure_the_next_provider_is_asked_too(instance: Instance, simulators: Simulators) -> None:
    """A stream that moved on has its usage in the log all the same."""
    simulators.faults("one", status=503)
    for answer in [instance.ask(stream=True) for _ in range(3)]:
        assert answer.headers["x-router-deployment"] == "two/small"
        assert all(event["choices"] for event in events(answer.text))
        assert lines(instance, answer.headers["x-router-decision"])[-1]["prompt_tokens"] > 0
    assert {body["stream_options"]["include_usage"] for body in simulators.bodies("two")} == {True}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_was_turned_down_can_be_told(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """An empty answer that the client never sees is in the log, though its provider did not say what it counted for it."""
    simulators.faults("one", empty=True)
    answer = instance.ask("judged", stream=stream)
    assert answer.headers["x-router-deployment"] == "two/other"
    request = lines(instance, answer.headers["x-router-decision"])[-1]
    assert request["tried"] == {"1": "one/other", "2": "two/other"}
    assert request["causes"] == {"1": "empty_answer"}
    assert request["billed"] == {"1": {"unreported": "stream" if stream else "answer"}}
    taken = simulators.requests("two")[0]["billed"]
    assert {name: request[name] for name in taken} == taken


def test_a_client_that_leaves_is_counted_by_events(instance: Instance, simulators: Simulators) -> None:
    """Of a stream that was left the log has how many events had come."""
    for name in simulators.ports:
        simulators.faults(name, tokens=400, inter_token_ms=30)
    with (
        instance.http() as http,
        http.stream("POST", CHAT, json={"model": "auto", "messages": HELLO, "stream": True}) as answer,
    ):
        decision = answer.headers["x-router-decision"]
        read = 0
        for text in answer.iter_text():
            read += text.count("data: ")
            if read >= 5:
                break
    request = lines(instance, decision)[-1]
    assert (request["flags"], request["prompt_tokens"]) == ("DC", None)
    assert 5 <= request["events"] < 400
    assert request["account"] is not None


def test_plain_answers_and_others_under_load(instance: Instance, simulators: Simulators) -> None:
    """Streams with and without the wish, and plain answers, beside each other: every one is whole and has its usage."""
    bodies = [
        chat(),
        chat(stream=True),
        chat(stream=True, stream_options={"include_usage": True}),
        chat(stream=True, size=100_000),
    ]
    with Load([instance.port], bodies, connections=4, requests=80) as load:
        load.join()
    assert not load.not_served
    has_usage = load.by(lambda outcome: b'"choices":[],"usage":{' in outcome.body.replace(b" ", b""))
    assert has_usage[True] == 20
    for outcome in load.outcomes:
        assert lines(instance, outcome.headers["x-router-decision"])[-1]["prompt_tokens"] > 0
    errors = instance.envoy_figures("lua.errors$")
    assert errors
    assert not any(errors.values())
