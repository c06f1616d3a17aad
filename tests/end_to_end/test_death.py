"""Processes die under load: what clients notice of it, counted request by request."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]

# Both providers know the model by an id of their own, and answer 404 to any other.
CONFIGURATION = """
providers:
  one: {{base_url: "{one}/v1"}}
  two: {{base_url: "{two}/v1"}}
models:
  small:
    tier: economy
    capabilities: [tools, vision]
    context_window: 20000000
    output_limit: 16000
    prices: {{input: 1, output: 2}}
    deployments:
      - {{provider: one, model: id-at-one}}
      - {{provider: two, model: id-at-two}}
routes:
  auto: {{targets: [small]}}
  watched: {{targets: [small], timeouts: {{first_token: 20s}}, check: {{answer: true}}}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
"""
# Ordinary ones, one above what Envoy buffers for a retry by default, one that is a stream.
SIZES = [chat(), chat(size=3_000), chat(size=200_000), chat(stream=True)]


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    folder = tmp_path_factory.mktemp("providers")
    with contextlib.closing(
        Simulators(folder, {"one": {"models": ["id-at-one"]}, "two": {"models": ["id-at-two"]}}, record=False)
    ) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    configuration = CONFIGURATION.format(one=simulators.url("one"), two=simulators.url("two"))
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def _healed(simulators: Simulators, instance: Instance) -> None:
    simulators.heal()
    until(lambda: instance.serving_workers() == 2)


def received(simulators: Simulators) -> int:
    """How many requests the providers have seen."""
    return sum(simulators.stats(name)["requests"] for name in simulators.ports)


def test_a_killed_worker_costs_no_request_and_no_decision(instance: Instance, simulators: Simulators) -> None:
    """With one of two workers killed under load, again and again, every request is served once, and decided."""
    with Load([instance.port], SIZES, connections=6) as load:
        for round_ in range(4):
            load.after(100)
            instance.kill_worker(round_ % 2)
    assert not load.not_served
    assert not load.not_decided
    assert received(simulators) == len(load.outcomes)


def test_a_worker_killed_while_it_watches_answers_costs_none_of_them(instance: Instance, simulators: Simulators) -> None:
    """Answers that a worker was judging, or had begun to pass on, reach the client whole though that worker is gone."""
    for name in simulators.ports:
        simulators.faults(name, tokens=15, first_token_ms=[0, 500], inter_token_ms=50)
    with Load([instance.port], [chat("watched", stream=True), chat("watched")], connections=20) as load:
        for _ in range(2):
            load.after(20)
            instance.kill_worker(0)
    assert not load.not_served
    assert not load.not_decided
    streams = [outcome.body for outcome in load.outcomes if b"data: " in outcome.body]
    assert len({body.count(b"\ndata: ") for body in streams}) == 1
    assert instance.envoy_figures("ext_proc.failure_mode_allowed$")["cluster.one/small.ext_proc.failure_mode_allowed"] > 0


@contextlib.contextmanager
def without_workers(instance: Instance) -> Iterator[None]:
    """All workers are killed, and a supervisor that stands still brings none back."""
    assert instance.process is not None
    os.kill(instance.process.pid, signal.SIGSTOP)
    try:
        for pid in set(instance.children()) - {*instance.pids("observer"), *instance.pids("envoy")}:
            os.kill(pid, signal.SIGKILL)
        yield
    finally:
        os.kill(instance.process.pid, signal.SIGCONT)


def test_with_all_workers_killed_every_request_is_served_by_the_default_chain(
    instance: Instance, simulators: Simulators
) -> None:
    """With all workers killed under load no request fails, and each answer and log line without a decision says so."""
    with Load([instance.port], SIZES, connections=6) as load:
        load.after(100)
        with without_workers(instance):
            load.after(50)
            undecided_from = time.monotonic()
            load.after(300)
            undecided_to = time.monotonic()
        until(lambda: instance.serving_workers() == 2)
        # Envoy's threads hear of them one after the other.
        load.after(12)
        decided_from = time.monotonic()
        load.after(100)
    assert not load.not_served
    assert received(simulators) == len(load.outcomes)

    undecided = [outcome for outcome in load.outcomes if undecided_from < outcome.started and outcome.ended < undecided_to]
    assert len(undecided) > 200
    assert {outcome.headers.get("x-router-degraded") for outcome in undecided} == {"router-unavailable"}
    assert {outcome.headers.get("x-router-reason") for outcome in undecided} == {"default_chain"}
    assert max(outcome.size for outcome in undecided) > 200_000
    assert all(outcome.is_decided for outcome in load.outcomes if outcome.started > decided_from)

    everything = {outcome.headers["x-router-decision"] for outcome in load.outcomes}
    degraded = {outcome.headers["x-router-decision"] for outcome in load.outcomes if not outcome.is_decided}
    logged = until(lambda: lines if degraded <= (lines := degraded_lines(instance)) else None)
    assert logged & everything == degraded


def degraded_lines(instance: Instance) -> set[str]:
    """The requests of Envoy's own access log that no worker decided."""
    return {line["decision"] for line in instance.access_lines() if line.get("degraded") == "router-unavailable"}


def test_the_default_chain_falls_back_without_workers(instance: Instance, simulators: Simulators) -> None:
    """Without any worker the default chain still moves on when its first provider fails."""
    simulators.faults("one", status=503)
    with without_workers(instance), Load([instance.port], SIZES, connections=2, requests=40) as load:
        load.join()
    assert not load.not_served
    assert load.by(lambda outcome: outcome.headers["x-router-deployment"]) == {"two/small": 40}


def test_requests_go_on_without_the_observer_and_logs_go_on_after_it_came_back(instance: Instance) -> None:
    """With the observer killed under load no request fails; it comes back, and later requests are logged again."""
    with Load([instance.port], SIZES, connections=6) as load:
        load.after(100)
        [killed] = instance.pids("observer")
        os.kill(killed, signal.SIGKILL)
        load.after(300)
        until(lambda: instance.pids("observer") not in ([], [killed]) and instance.is_ready())
        load.after(100)
    assert not load.not_served
    assert not load.not_decided
    after = instance.ask().headers["x-router-decision"]
    assert instance.decision(after)["status"] == 200


def test_a_killed_envoy_is_started_again(instance: Instance) -> None:
    """Envoy killed with -9 serves again within seconds, with every worker and with its logs."""
    [killed] = instance.pids("envoy")
    os.kill(killed, signal.SIGKILL)
    until(lambda: instance.pids("envoy") not in ([], [killed]) and instance.accepts_connections())
    answer = until(lambda: (answer := instance.ask()).status_code == 200 and answer)
    assert "x-router-degraded" not in answer.headers
    assert instance.decision(answer.headers["x-router-decision"])["status"] == 200


def test_no_process_outlives_a_killed_supervisor(simulators: Simulators, tmp_path: Path) -> None:
    """A supervisor killed with -9 leaves nothing behind: Envoy, workers and observer end with it."""
    configuration = CONFIGURATION.format(one=simulators.url("one"), two=simulators.url("two"))
    with running(Instance(tmp_path, configuration)) as instance:
        children = [pid for role in ("worker", "observer", "envoy") for pid in instance.pids(role)]
        assert len(children) == 4
        assert instance.process is not None
        assert {os.getpgid(pid) for pid in children} == {os.getpgid(instance.process.pid)}
        instance.process.kill()
        instance.process.wait()
        until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])
