"""A 200 that is no answer: where the route asks for the check it is a failed attempt, elsewhere it passes as it came."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms}
providers:
  alpha: {base_url: $alpha/v1}
  beta: {base_url: $beta/v1}
  gamma: {base_url: $gamma/v1}
models:
  first: {deployments: [{provider: alpha, model: first-at-alpha}]}
  second: {deployments: [{provider: beta, model: second-at-beta}]}
  third: {deployments: [{provider: gamma}]}
routes:
  checked: {targets: [first, second], check: {answer: true}}
  three: {targets: [first, second, third], check: {answer: true}}
  alone: {targets: [first], same_tier: false, check: {answer: true}}
  unchecked: {targets: [first, second]}
  both: {targets: [first, second], check: {answer: true}, timeouts: {first_token: 20s}}
"""

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({"empty": True}, "empty_answer"),
    "broken": ({"malformed": "broken"}, "malformed_answer"),
    "truncated": ({"malformed": "truncated"}, "malformed_answer"),
}
"""What the provider does, and the decision log's word for it."""

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
ENCODINGS = pytest.mark.parametrize("gzip", ["never", "always"])

SIMULATED = {"alpha": {}, "beta": {}, "gamma": {}}


@KINDS
@ENCODINGS
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("route", ["checked", "both"])
def test_a_200_that_is_no_answer_moves_on(
    instance: Instance, simulators: Simulators, *, route: str, bad: str, gzip: str, stream: bool
) -> None:
    """Where the route asks for the check, the next deployment answers, and nothing of the bad answer is seen."""
    faults, cause = BAD[bad]
    simulators.faults("alpha", **faults, gzip=gzip)
    answer = instance.ask(route, stream=stream)
    assert answer.status_code == 200
    assert (answer.headers["x-router-deployment"], answer.headers["x-router-attempts"]) == ("beta/second", "2")
    assert answer.headers["x-router-fallback-from"] == "alpha/first"
    assert "alpha" not in answer.text
    assert "beta" in answer.text
    first, second = instance.decision(answer.headers["x-router-decision"])["attempts"]
    assert (first["cause"], second["cause"], second["status"]) == (cause, "none", 200)


@KINDS
def test_two_bad_answers_are_followed_by_a_third(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """The check holds for every attempt, and each attempt still asks for its provider's own model."""
    simulators.faults("alpha", empty=True)
    simulators.faults("beta", malformed="truncated")
    answer = instance.ask("three", stream=stream)
    assert (answer.headers["x-router-deployment"], answer.headers["x-router-attempts"]) == ("gamma/third", "3")
    attempts = instance.decision(answer.headers["x-router-decision"])["attempts"]
    assert [attempt["cause"] for attempt in attempts] == ["empty_answer", "malformed_answer", "none"]
    models = [body["model"] for name in ("alpha", "beta", "gamma") for body in simulators.bodies(name)]
    assert models == ["first-at-alpha", "second-at-beta", "third"]


@KINDS
@pytest.mark.parametrize("bad", BAD)
def test_the_last_bad_answer_becomes_an_honest_error(
    instance: Instance, simulators: Simulators, bad: str, *, stream: bool
) -> None:
    """With nothing left to try the client gets a 502 that says what happened, not half of an answer."""
    faults, cause = BAD[bad]
    simulators.faults("alpha", **faults)
    with instance.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="alone", messages=HELLO, stream=stream)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.code) == (502, cause)
    assert caught.value.response.headers["x-router-attempts"] == "1"
    assert instance.decision(caught.value.response.headers["x-router-decision"])["cause"] == cause


@pytest.mark.parametrize("bad", BAD)
def test_without_the_check_a_plain_answer_passes_as_it_came(instance: Instance, simulators: Simulators, bad: str) -> None:
    """Who does not ask for the check gets what the provider sent, at the first attempt."""
    simulators.faults("alpha", **BAD[bad][0])
    answer = instance.ask("unchecked")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1")
    assert simulators.asked() == {"alpha": 1}
    text = {"empty": "", "broken": '<{"id":', "truncated": '{"id":'}[bad]
    assert answer.text.startswith(text)
    assert (len(answer.text) == 0) == (bad == "empty")


@pytest.mark.parametrize("bad", ["broken", "truncated"])
def test_without_the_check_a_stream_passes_as_it_came(instance: Instance, simulators: Simulators, bad: str) -> None:
    """Events that cannot be read are the client's to stumble over; the SDK does."""
    simulators.faults("alpha", **BAD[bad][0])
    with instance.client() as client, pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        list(client.chat.completions.create(model="unchecked", messages=HELLO, stream=True))  # type: ignore[call-overload]
    assert simulators.asked() == {"alpha": 1}


def test_without_the_check_an_empty_stream_is_an_error_all_the_same(instance: Instance, simulators: Simulators) -> None:
    """A stream without any event has not had its last one: that no token came is said, not left to be guessed."""
    simulators.faults("alpha", empty=True)
    with instance.client() as client, pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model="unchecked", messages=HELLO, stream=True))  # type: ignore[call-overload]
    assert caught.value.code == "stream_incomplete"


@KINDS
@ENCODINGS
def test_a_good_answer_passes_the_check_untouched(
    instance: Instance, simulators: Simulators, gzip: str, *, stream: bool
) -> None:
    """What is an answer arrives whole, at the first attempt, tools and all."""
    simulators.faults("alpha", gzip=gzip)
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
    for body in ({}, {"n": 2}, {"tools": tools, "tool_choice": "required"}, {"max_tokens": 1}):
        answer = instance.ask("checked", stream=stream, **body)
        assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1"), answer.text
        assert '"finish_reason"' in answer.text
        assert answer.text.endswith("data: [DONE]\n\n") or not stream


@KINDS
def test_errors_are_not_judged(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """The check is for answers: an error of the caller's making passes with its own words."""
    simulators.faults("alpha", status=404)
    answer = instance.ask("checked", stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (404, "1")
    assert answer.json() == simulators.own_answer("alpha")
