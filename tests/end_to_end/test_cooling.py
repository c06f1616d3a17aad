"""A deployment that fails is left alone for a while, tried again by one request, and then used as before.

Health travels from Envoy's logs to the observer, from there to every worker; each test has deployments of its own.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

# What a provider does, the kind of request, how many such failures it takes, and the decision log's word for them.
FAILURES: dict[str, tuple[dict[str, Any], dict[str, Any], int, str]] = {
    "status-500": ({"status": 500}, {}, 3, "server_error"),
    "status-529": ({"status": 529}, {"stream": True}, 3, "server_error"),
    "refused": ({"refuse": True}, {}, 3, "connect_failure"),
    "reset": ({"refuse": True, "times": 3}, {"stream": True}, 3, "reset"),
    "hang": ({"hang": "forever"}, {}, 3, "timeout"),
    "cut": ({"cut_after_tokens": 2}, {"stream": True}, 3, "reset"),
    "first-token": ({"stall_after_tokens": 0}, {"stream": True}, 3, "first_token_timeout"),
    "empty": ({"empty": True}, {}, 3, "empty_answer"),
    "malformed": ({"malformed": "broken"}, {"stream": True}, 3, "malformed_answer"),
    "forbidden": ({"status": 403}, {}, 3, "forbidden"),
    # Once is enough: the provider has said for how long, or the key is dead.
    "status-429": ({"status": 429}, {}, 1, "rate_limited"),
    "unauthorized": ({"status": 401}, {}, 1, "unauthorized"),
    "unpaid": ({"status": 402}, {}, 1, "unauthorized"),
}

CALLERS = {
    "status-400": ({"status": 400}, {}),
    "status-404": ({"status": 404}, {}),
    "status-413": ({"status": 413}, {"stream": True}),
    "status-422": ({"status": 422}, {}),
    "too-long": ({"context_length_exceeded": True}, {}),
}

OTHERS = ("limited", "near", "far", "share", "gone", "crowd", "again", "brief", "other")

HEAD = """
providers:
  flaky: {base_url: $flaky/v1}
  steady: {base_url: $steady/v1}
"""


def configuration(cooling: str) -> str:
    cases = [*FAILURES, *CALLERS, *OTHERS]
    models = [f"  {case}: {{deployments: [{{provider: flaky}}]}}\n" for case in cases]
    # Times end where that is what fails, and nowhere else.
    times = {"hang": "attempt: 500ms", "first-token": "first_token: 300ms"}
    settings = {case: f"check: {{answer: true}}, timeouts: {{{times.get(case, 'attempt: 60s')}}}" for case in cases}
    routes = [f"  to-{case}: {{targets: [{case}, steady], same_tier: false, {settings[case]}}}\n" for case in cases]
    # The same places, where nobody is in a hurry.
    routes += [f"  later-{case}: {{targets: [{case}, steady], same_tier: false}}\n" for case in cases]
    pair = "  to-both: {targets: [near, far], same_tier: false}\n"
    steady = "  steady: {deployments: [{provider: steady}]}\n"
    return "".join((f"cooling: {cooling}", HEAD, "models:\n", *models, steady, "routes:\n", *routes, pair))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"flaky": {}, "steady": {}})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Whatever cools down stays so until the end of the tests."""
    text = simulators.fill(configuration("{failures: 3, failure_ratio: 0.5, time: 300s, max_time: 600s}"))
    with running(Instance(tmp_path_factory.mktemp("instance"), text)) as started:
        yield started


@pytest.fixture(scope="module")
def brisk(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Cools down for two seconds, then for four."""
    text = simulators.fill(configuration("{failures: 3, time: 2s, max_time: 60s}"))
    with running(Instance(tmp_path_factory.mktemp("brisk"), text)) as started:
        yield started


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


def ask(instance: Instance, case: str, **body: Any) -> None:
    """One request, whatever becomes of it."""
    with instance.http() as http:
        try:
            http.post(CHAT, json={"model": f"to-{case}", "messages": HELLO, **body})
        except httpx.TransportError:
            return


def cool_down(instance: Instance, case: str) -> None:
    """Waits until the deciders are told that the case's deployment cools down, and have had a second to hear it."""
    until(lambda: instance.health(f"flaky/{case}") == "open")
    time.sleep(1)


def askings(instance: Instance, case: str, count: int = 30, **body: Any) -> list[httpx.Response]:
    """Answers to many requests at once, over connections of their own, so that every worker decides some."""
    with ThreadPoolExecutor(6) as pool:
        return list(pool.map(lambda _: instance.ask(f"later-{case}", **body), range(count)))


def decided(instance: Instance) -> list[int]:
    """How many decisions each worker has made, as of at most a second ago."""
    return [json.loads(file.read_bytes())["decided"] for file in sorted((instance.state / "counters").glob("worker-*.json"))]


@pytest.mark.parametrize("case", FAILURES)
def test_failures_cool_a_deployment_down(instance: Instance, simulators: Simulators, case: str) -> None:
    """After so many failures of the provider's making, within a second no worker sends it anything any more."""
    faults, body, needed, cause = FAILURES[case]
    simulators.faults("flaky", **faults)
    for _ in range(needed):
        assert instance.health(f"flaky/{case}") == "closed"
        ask(instance, case, **body)
    cool_down(instance, case)
    simulators.heal()
    before = decided(instance)
    answers = askings(instance, case)
    assert {(answer.status_code, answer.headers["x-router-deployment"]) for answer in answers} == {(200, "steady/steady")}
    assert {answer.headers["x-router-attempts"] for answer in answers} == {"1"}
    assert simulators.asked() == {"steady": len(answers)}
    until(lambda: all(now > then for now, then in zip(decided(instance), before, strict=True)))

    def causes() -> list[str]:
        attempts = [attempt for record in instance.decisions() for attempt in record["attempts"]]
        return [attempt["cause"] for attempt in attempts if attempt["deployment"] == f"flaky/{case}"]

    until(lambda: len(causes()) >= needed)
    assert causes() == [cause] * needed


@pytest.mark.parametrize("case", CALLERS)
def test_what_the_caller_did_wrong_never_counts(instance: Instance, simulators: Simulators, case: str) -> None:
    """However many requests a provider refuses for their content, it stays in use."""
    faults, body = CALLERS[case]
    simulators.faults("flaky", **faults)
    answers = askings(instance, case, **body)
    assert {answer.headers["x-router-attempts"] for answer in answers} == {"2" if case == "too-long" else "1"}
    last = instance.ask(f"to-{case}").headers["x-router-decision"]
    instance.decision(last)
    time.sleep(1)
    assert instance.health(f"flaky/{case}") == "closed"
    simulators.heal()
    assert instance.ask(f"to-{case}").headers["x-router-deployment"] == f"flaky/{case}"


def test_clients_that_go_away_never_count(instance: Instance, simulators: Simulators) -> None:
    """An answer that the client did not wait for says nothing about the provider."""
    simulators.faults("flaky", tokens=100, inter_token_ms=50)
    for _ in range(12):
        body = {"model": "to-gone", "messages": HELLO, "stream": True}
        with instance.http() as http, http.stream("POST", CHAT, json=body) as answer:
            next(answer.iter_bytes())
    until(lambda: simulators.stats("flaky")["by_outcome"].get("client_closed") == 12)
    records = until(lambda: _records(instance, "to-gone", 12))
    assert {record["attempts"][0]["cause"] for record in records} == {"client_disconnected"}
    assert instance.health("flaky/gone") == "closed"


def _records(instance: Instance, route: str, count: int) -> list[dict[str, Any]] | None:
    found = [record for record in instance.decisions() if record["route"] == route]
    return found if len(found) == count else None


def test_a_share_of_failures_is_enough(instance: Instance, simulators: Simulators) -> None:
    """Never two failures in a row, but every second request: half of at least ten cools the deployment down."""
    script: list[dict[str, Any]] = []
    for _ in range(8):
        script += [{"status": 500, "times": 1}, {"times": 1}]
    simulators.faults("flaky", *script)
    sent = 0
    # Over several connections, and so through several threads of Envoy: the order in the logs is not that of the answers.
    while instance.health("flaky/share") == "closed":
        assert sent < 16
        ask(instance, "share")
        sent += 1
        time.sleep(0.5 if sent >= 9 else 0)
    assert sent >= 10


def test_a_rate_limit_is_left_alone_for_as_long_as_it_asks(instance: Instance, simulators: Simulators) -> None:
    """One 429 with retry-after is enough, it counts from the answer on, and after it the deployment is used again."""
    simulators.faults("flaky", status=429, retry_after=3, times=1)
    first = instance.ask("to-limited")
    assert (first.status_code, first.headers["x-router-attempts"]) == (200, "2")
    cool_down(instance, "limited")
    with Load([instance.port], [chat("to-limited")], connections=2, pause=0.05) as load:
        until(lambda: len(simulators.requests("flaky")) > 5, seconds=20)
    assert load.not_served == []
    limited, probe = simulators.requests("flaky")[:2]
    assert limited["status"] == 429
    assert 2.9 <= probe["received_at"] - limited["received_at"] < 15


@pytest.mark.parametrize("probe_fails", [False, True], ids=["recovered", "still failing"])
def test_one_request_of_all_workers_tries_again(brisk: Instance, simulators: Simulators, *, probe_fails: bool) -> None:
    """Under load over two workers exactly one request is the probe: the others wait for its outcome elsewhere."""
    case = "again" if probe_fails else "crowd"
    simulators.faults("flaky", status=503)
    for _ in range(3):
        ask(brisk, case)
    cool_down(brisk, case)
    # Slow enough for many requests to come by while the probe is under way.
    simulators.faults("flaky", latency_ms=600, **({"status": 503} if probe_fails else {}))
    with Load([brisk.port], [chat(f"to-{case}")], connections=6, pause=0.01) as load:
        until(lambda: len(simulators.requests("flaky")) >= (5 if probe_fails else 20), seconds=30)
    # Whom the probe's deployment could not serve, the other did.
    assert load.not_served == []
    last_failure, probe, *later = (request["received_at"] for request in simulators.requests("flaky")[2:])
    assert probe - last_failure >= 2
    if probe_fails:
        assert later[0] - probe >= 4, "a failed probe doubles the time"
    else:
        assert later[0] - probe >= 0.6, "nobody else came before the probe was answered"
        assert brisk.health(f"flaky/{case}") == "closed"


def test_what_recovered_serves_as_before(brisk: Instance, simulators: Simulators) -> None:
    """After a good probe all traffic comes back, and old failures are forgotten."""
    simulators.faults("flaky", {"status": 500, "times": 3}, {})
    for _ in range(3):
        ask(brisk, "brief")
    cool_down(brisk, "brief")
    until(lambda: brisk.ask("to-brief").headers["x-router-deployment"] == "flaky/brief", seconds=20)
    until(lambda: brisk.health("flaky/brief") == "closed")
    time.sleep(1)
    answers = askings(brisk, "brief")
    assert {answer.headers["x-router-deployment"] for answer in answers} == {"flaky/brief"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_when_all_cool_down_the_least_bad_is_tried_once(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """Of two that cool down, the one that is back sooner gets the request, alone, and the answer says so."""
    if instance.health("flaky/near") == "closed":
        for case, seconds in (("near", 200), ("far", 400)):
            simulators.faults("flaky", status=429, retry_after=seconds)
            instance.ask(case)
        cool_down(instance, "near")
        cool_down(instance, "far")
    simulators.heal()
    served = instance.ask("to-both", stream=stream)
    assert (served.status_code, served.headers["x-router-deployment"]) == (200, "flaky/near")
    assert served.headers["x-router-degraded"] == "all-cooling-down"
    assert instance.decision(served.headers["x-router-decision"])["degraded"] == "all-cooling-down"
    simulators.faults("flaky", status=503)
    failed = instance.ask("to-both", stream=stream)
    assert (failed.status_code, failed.headers["x-router-attempts"]) == (503, "1")
    assert failed.headers["x-router-degraded"] == "all-cooling-down"
    assert simulators.asked() == {"flaky": 2}


def test_a_new_observer_knows_what_the_last_one_knew(instance: Instance, simulators: Simulators) -> None:
    """`kill -9` of the observer costs nobody anything: what cooled down stays so, and the decision log goes on."""
    simulators.faults("flaky", status=500)
    for _ in range(3):
        ask(instance, "other")
    cool_down(instance, "other")
    (observer,) = instance.pids("observer")
    simulators.heal()
    with Load([instance.port], [chat("to-other")], connections=2, pause=0.02) as load:
        load.after(10)
        os.kill(observer, signal.SIGKILL)
        until(lambda: instance.pids("observer") not in ([], [observer]))
        until(instance.is_ready)
        load.after(30)
    assert load.not_served == []
    assert simulators.asked() == {"steady": len(load.outcomes)}
    assert instance.health("flaky/other") == "open"
    last = instance.ask("to-other")
    assert last.headers["x-router-deployment"] == "steady/steady"
    assert instance.decision(last.headers["x-router-decision"])["attempts"][0]["deployment"] == "steady/steady"
