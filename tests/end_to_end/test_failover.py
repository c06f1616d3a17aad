"""What fails before it answers is served by another key, another provider, another tier, and the client never knows.

The matrix: every cause of failure times every way to go on, plain and streamed. What happens when an answer goes wrong
after it has begun is in ``test_streams`` and ``test_checks``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

PROVIDERS = """
cooling: {failures: 1000000, window: 1ms}
defaults: {timeouts: {attempt: 60s}}
providers:
  alpha: {base_url: $alpha/v1}
  beta: {base_url: $beta/v1}
  gamma: {base_url: $gamma/v1}
"""

MODELS = {
    "twin": """
    tier: standard
    deployments:
      - {provider: alpha, model: twin-at-alpha, weight: 1000000}
      - {provider: beta, model: twin-at-beta, weight: 0.000001}""",
    "first": " {tier: premium, deployments: [{provider: alpha, model: first-at-alpha}]}",
    "second": " {tier: premium, deployments: [{provider: beta, model: second-at-beta}]}",
    "third": " {tier: economy, deployments: [{provider: gamma, model: third-at-gamma}]}",
    # The first of its tier in the file: what follows a single target.
    "neighbour": " {tier: premium, deployments: [{provider: beta, model: neighbour-at-beta}]}",
}

ROUTES = {
    "same-model": "{targets: [twin]}",
    "next-target": "{targets: [first, second]}",
    "same-tier": "{targets: [first]}",
    "last-resort": "{targets: [first], same_tier: false, last_resort: [third]}",
    "three-levels": "{targets: [first, second], last_resort: [third]}",
}

CHAINS = {
    "same-model": ("alpha/twin", "beta/twin"),
    "next-target": ("alpha/first", "beta/second"),
    "same-tier": ("alpha/first", "beta/neighbour"),
    "last-resort": ("alpha/first", "gamma/third"),
    "three-levels": ("alpha/first", "beta/second", "gamma/third"),
}
"""Route: its deployments in order."""

SHORT_CHAINS = [route for route, chain in CHAINS.items() if len(chain) == 2]

CAUSES: dict[str, tuple[dict[str, Any], int, str]] = {
    "429": ({"status": 429, "retry_after": 1}, 429, "rate_limited"),
    "quota": ({"status": 429, "error_code": "insufficient_quota"}, 429, "rate_limited"),
    # Our key was refused: the attempt's status is what made Envoy go on.
    "401": ({"status": 401}, 503, "unauthorized"),
    "402": ({"status": 402}, 503, "unauthorized"),
    "403": ({"status": 403}, 503, "forbidden"),
    "500": ({"status": 500}, 500, "server_error"),
    "502": ({"status": 502}, 502, "server_error"),
    "503": ({"status": 503}, 503, "server_error"),
    "504": ({"status": 504}, 504, "server_error"),
    "529": ({"status": 529}, 529, "server_error"),
    "refused": ({"refuse": True}, 0, "connect_failure"),
    "reset": ({"refuse": True, "times": 1}, 0, "reset"),
    "hang": ({"hang": "forever"}, 0, "timeout"),
}
"""Cause: the fault that brings it about, the attempt's status (0 for none), the decision log's word for it."""

PAIRS = [
    (first, second, number % 2 == 1)
    for number, (first, second) in enumerate(product(["429", "502", "refused", "reset", "hang"], repeat=2))
]
"""What fails first and what fails next, and whether that is tried with a stream: each pair in one way, in turn."""


def case_of(first: str, second: str, *, stream: bool) -> str:
    """The name of a case of the matrix, for models and routes."""
    return f"{first}.{second}.{'stream' if stream else 'plain'}"


def of_case(name: str, case: str) -> str:
    """A model, deployment or route of this case; the neighbour never fails and is common to all."""
    return name if name.endswith("neighbour") else f"{name}.{case}"


def configuration(cases: Iterable[tuple[str, str]]) -> str:
    """Each route for its case, with models of its own: a 429 makes a deployment rest, and no case must see another's."""
    models = {"neighbour": MODELS["neighbour"]}
    routes = {}
    for route, case in cases:
        written = ROUTES[route]
        for model, settings in MODELS.items():
            if model in written:
                models[of_case(model, case)] = settings
                written = written.replace(model, of_case(model, case))
        # Only where somebody hangs is there a reason to hurry.
        if "hang" in case or case == "any":
            written = f"{written[:-1]}, timeouts: {{attempt: 1s}}}}"
        routes[of_case(route, case)] = f" {written}"
    return f"{PROVIDERS}models:{section(models)}\nroutes:{section(routes)}\n"


def section(content: dict[str, str]) -> str:
    return "".join(f"\n  {name}:{value}" for name, value in content.items())


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"alpha": {}, "beta": {}, "gamma": {}})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    cases = [(route, "any") for route in ROUTES]
    for stream in (False, True):
        cases += [(route, case_of(cause, route, stream=stream)) for cause in CAUSES for route in SHORT_CHAINS]
    cases += [("three-levels", case_of(first, second, stream=stream)) for first, second, stream in PAIRS]
    text = simulators.fill(configuration(cases))
    with running(Instance(tmp_path_factory.mktemp("instance"), text)) as started:
        yield started


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


def text_of(answer: httpx.Response, *, stream: bool) -> str:
    """What the model said; a stream must be whole."""
    if not stream:
        return str(answer.json()["choices"][0]["message"]["content"])
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


def check(instance: Instance, answer: httpx.Response, chain: tuple[str, ...], failed: list[tuple[int, str]]) -> None:
    """The answer and its record name who answered, who failed before, and how."""
    assert answer.status_code == 200, answer.text
    last = chain[len(failed)]
    assert answer.headers["x-router-deployment"] == last
    assert answer.headers["x-router-model"] == last.partition("/")[2]
    assert answer.headers["x-router-attempts"] == str(len(failed) + 1)
    assert answer.headers["x-router-fallback-from"] == chain[0]
    record = instance.decision(answer.headers["x-router-decision"])
    attempts = record["attempts"]
    assert [attempt["deployment"] for attempt in attempts] == list(chain[: len(failed) + 1])
    assert [attempt["number"] for attempt in attempts] == list(range(1, len(failed) + 2))
    assert [(attempt["status"], attempt["cause"]) for attempt in attempts] == [*failed, (200, "none")]
    assert all(attempt["total_ms"] is not None for attempt in attempts)
    assert (record["status"], record["deployment"], record["fallback_from"]) == (200, last, chain[0])


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("route", SHORT_CHAINS)
@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_is_followed_by_every_chain(
    instance: Instance, simulators: Simulators, cause: str, route: str, *, stream: bool
) -> None:
    """Whatever fails before its answer begins, the route's next deployment answers in its place."""
    case = case_of(cause, route, stream=stream)
    faults, status, word = CAUSES[cause]
    simulators.faults("alpha", **faults)
    answer = instance.ask(of_case(route, case), stream=stream)
    chain = tuple(of_case(name, case) for name in CHAINS[route])
    check(instance, answer, chain, [(status, word)])
    assert text_of(answer, stream=stream).startswith(chain[1].partition("/")[0])


@pytest.mark.parametrize(("first", "second", "stream"), PAIRS)
def test_the_fallback_of_a_fallback_answers(
    instance: Instance, simulators: Simulators, first: str, second: str, *, stream: bool
) -> None:
    """Two levels may fail, each for a cause of its own: same tier first, then the last resort of another tier."""
    case = case_of(first, second, stream=stream)
    for name, cause in (("alpha", first), ("beta", second)):
        simulators.faults(name, **CAUSES[cause][0])
    answer = instance.ask(of_case("three-levels", case), stream=stream)
    chain = tuple(of_case(name, case) for name in CHAINS["three-levels"])
    check(instance, answer, chain, [CAUSES[first][1:], CAUSES[second][1:]])
    assert answer.headers["x-router-tier"] == "economy"


def test_each_attempt_carries_its_own_providers_model(instance: Instance, simulators: Simulators) -> None:
    """A fallback asks for the model by the name that its own provider knows."""
    simulators.faults("alpha", status=500)
    simulators.faults("beta", status=500)
    assert instance.ask("three-levels.any").json()["model"] == "third-at-gamma"
    asked = [body["model"] for name in ("alpha", "beta") for body in simulators.bodies(name)]
    assert asked == ["first-at-alpha", "second-at-beta"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_when_all_fail_the_last_failure_is_told(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """A chain that is used up ends with its last provider's own words and a record of all attempts."""
    for name, status in (("alpha", 500), ("beta", 502), ("gamma", 503)):
        simulators.faults(name, status=status)
    answer = instance.ask("three-levels.any", stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (503, "3")
    assert answer.json() == simulators.own_answer("gamma")
    record = instance.decision(answer.headers["x-router-decision"])
    assert [attempt["status"] for attempt in record["attempts"]] == [500, 502, 503]
    assert (record["status"], record["cause"]) == (503, "server_error")


@pytest.mark.parametrize("first", ["500", "refused"])
@pytest.mark.parametrize("last", ["refused", "reset", "hang"])
def test_when_the_last_does_not_answer_the_error_is_readable(
    instance: Instance, simulators: Simulators, first: str, last: str
) -> None:
    """Without any provider's answer Envoy's own error is in OpenAI's shape, and it names the attempt it speaks of."""
    simulators.faults("alpha", **CAUSES[first][0])
    simulators.faults("gamma", **CAUSES[last][0])
    answer = instance.ask("last-resort.any")
    assert answer.status_code in (502, 503, 504)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert (answer.headers["x-router-deployment"], answer.headers["x-router-attempts"]) == ("gamma/third.any", "2")


@pytest.mark.parametrize("where", ["http://nowhere.invalid", "without-tls"])
def test_a_provider_that_cannot_be_reached_is_followed_like_any_failure(
    simulators: Simulators, tmp_path_factory: pytest.TempPathFactory, where: str
) -> None:
    """A name that resolves to nothing, or a TLS handshake that fails, costs one attempt on each chain and no request."""
    address = simulators.url("alpha").replace("http:", "https:") if where == "without-tls" else where
    text = configuration((route, "any") for route in ROUTES).replace("$alpha", address)
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(text))) as instance:
        for route, names in CHAINS.items():
            chain = tuple(of_case(name, "any") for name in names)
            for stream in (False, True):
                answer = instance.ask(of_case(route, "any"), stream=stream)
                check(instance, answer, chain, [(0, "connect_failure")])


def test_bad_requests_are_the_callers_and_are_not_tried_elsewhere(instance: Instance, simulators: Simulators) -> None:
    """A 400, 404, 413 or 422 would be the same everywhere: it reaches the client as the first provider wrote it."""
    for status in (400, 404, 413, 422):
        simulators.faults("alpha", status=status)
        answer = instance.ask("three-levels.any")
        assert (answer.status_code, answer.headers["x-router-attempts"]) == (status, "1")
        assert answer.json() == simulators.own_answer("alpha")
        assert not {"x-router-fallback-from", "x-router-fallback-cause"} & set(answer.headers)
    assert "beta" not in simulators.asked()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_the_headers_tell_of_a_fallback_before_the_first_token(
    instance: Instance, simulators: Simulators, *, stream: bool
) -> None:
    """Who answers, after whom and why, at which attempt: all in the headers; a stream needs no token for that."""
    simulators.faults("alpha", status=500)
    if stream:
        simulators.faults("beta", stall_after_tokens=0)
    body = {"model": "next-target.any", "messages": HELLO, "stream": stream}
    with instance.http() as http, http.stream("POST", CHAT, json=body) as answer:
        headers = {name: value for name, value in answer.headers.items() if name.startswith("x-router-")}
    assert headers.pop("x-router-decision")
    assert headers == {
        "x-router-route": "next-target.any",
        "x-router-reason": "ordered",
        "x-router-model": "second.any",
        "x-router-deployment": "beta/second.any",
        "x-router-tier": "premium",
        "x-router-attempts": "2",
        "x-router-fallback-from": "alpha/first.any",
        "x-router-fallback-cause": "server_error",
    }


def test_without_a_failure_no_header_speaks_of_one(instance: Instance) -> None:
    """An answer at the first attempt names no fallback."""
    answer = instance.ask("next-target.any")
    assert (answer.headers["x-router-attempts"], answer.headers["x-router-deployment"]) == ("1", "alpha/first.any")
    assert "x-router-fallback-from" not in answer.headers
    assert "x-router-degraded" not in answer.headers


def test_the_record_has_times_of_each_attempt(instance: Instance, simulators: Simulators) -> None:
    """Milliseconds to the first byte and in total are kept for each attempt, and they add up."""
    simulators.faults("alpha", status=503, latency_ms=200)
    simulators.faults("beta", latency_ms=300, tokens=10, inter_token_ms=60)
    answer = instance.ask("next-target.any", stream=True)
    record = instance.decision(answer.headers["x-router-decision"])
    failed, served = record["attempts"]
    assert (record["requested"], failed["level"], served["level"]) == ("next-target.any", "primary", "target")
    # Whose clock is a little slow is a little early.
    assert 195 <= failed["time_to_first_byte_ms"] <= failed["total_ms"]
    assert served["time_to_first_byte_ms"] >= 295
    assert served["time_to_first_byte_ms"] + 150 <= served["total_ms"]
    assert 490 <= record["time_to_first_token_ms"] <= record["total_ms"] - 150
    assert failed["total_ms"] + served["total_ms"] <= record["total_ms"]
