"""Restarts by SIGTERM while answers stream: nobody's answer is cut, and nothing goes undecided meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.held_streams import HeldStreams
from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, at_work, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]

# `watched` has the attempt leg judge the start of every stream, so that a worker takes part in it.
CONFIGURATION = """
providers:
  one: {{base_url: "{one}/v1"}}
models:
  small:
    tier: economy
    context_window: 100000
    output_limit: 10000
    prices: {{input: 1, output: 2}}
    deployments: [{{provider: one, model: id-at-one}}]
routes:
  auto: {{targets: [small]}}
  watched: {{targets: [small], timeouts: {{first_token: 20s}}}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
workers: {{count: {workers}, drain_timeout: 60s}}
"""
# Long enough that many streams run whenever a process ends.
PACE = {"tokens": 15, "first_token_ms": [0, 300], "inter_token_ms": 80}
STREAMS = [chat("auto", stream=True), chat("watched", stream=True)]


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    deployments = {"one": {"models": ["id-at-one"], "faults": PACE}}
    with contextlib.closing(Simulators(tmp_path_factory.mktemp("providers"), deployments, record=False)) as simulators:
        yield simulators


def configuration(simulators: Simulators, workers: int = 2) -> str:
    return CONFIGURATION.format(one=simulators.url("one"), workers=workers)


def replace(instance: Instance, pid: int) -> None:
    """Ends one worker and waits until another process has its place."""
    os.kill(pid, signal.SIGTERM)
    until(lambda: pid not in {int(link.readlink().name.split(".")[1]) for link in instance.worker_links()})


def end(instance: Instance) -> None:
    """SIGTERM, and everything that follows from it, to the end."""
    assert instance.process is not None
    instance.process.send_signal(signal.SIGTERM)
    assert instance.process.wait(40) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_in_turn_is_replaced_without_a_cut_stream(simulators: Simulators, tmp_path: Path, workers: int) -> None:
    """Every worker is ended by SIGTERM while 24 streams run at any time: none is cut, and every one was decided."""
    with (
        running(Instance(tmp_path, configuration(simulators, workers))) as instance,
        Load([instance.port], STREAMS, connections=24) as load,
    ):
        load.until_open(24)
        first = instance.pids("worker")
        for pid in first:
            replace(instance, pid)
            load.after(10)
        load.after(30)
        # The old ones end by themselves once the streams that they watch have ended.
        until(lambda: not set(first) & set(instance.pids("worker")))
        assert len(instance.pids("worker")) == workers
    assert not load.not_served
    assert not load.not_decided


def test_one_of_two_instances_is_restarted_without_a_cut_stream(simulators: Simulators, tmp_path: Path) -> None:
    """Behind something that balances over two instances, one is ended by SIGTERM and started again: no stream is cut.

    A port that closes resets connections that its kernel had taken and Envoy had not: who balances must have left before.
    """
    text = configuration(simulators).replace("drain_timeout", "drain_delay: 2s, drain_timeout")
    first, second = Instance(tmp_path / "first", text), Instance(tmp_path / "second", text)
    ports, readiness = [first.port, second.port], [f"{first.admin_url}/readyz", f"{second.admin_url}/readyz"]
    with (
        running(first),
        running(second),
        Load(ports, STREAMS, readiness=readiness, connections=12) as kept_alive,
        Load(ports, STREAMS, readiness=readiness, connections=12, keep_alive=False) as reconnecting,
    ):
        reconnecting.after(20)
        end(first)
        assert not first.accepts_connections()
        reconnecting.after(20)
        first.start()
        reconnecting.after(30)
        until(lambda: first.envoy_figures("^http.clients.downstream_rq_active$") != {"http.clients.downstream_rq_active": 0})
    for load in (kept_alive, reconnecting):
        assert not load.not_served
        assert not load.not_decided


def test_for_drain_delay_it_serves_on_and_says_that_it_is_not_ready(simulators: Simulators, tmp_path: Path) -> None:
    """New connections are taken and decided, each answer tells its connection to close; then the port refuses."""
    text = configuration(simulators).replace("drain_timeout", "drain_delay: 8s, drain_timeout")
    with running(Instance(tmp_path, text)) as instance:
        assert instance.ask("auto").headers.get("connection") != "close"
        assert instance.process is not None
        instance.process.send_signal(signal.SIGTERM)
        stopping = time.monotonic()
        until(lambda: not instance.is_ready())
        assert instance.admin.get(f"{instance.admin_url}/readyz").json()["reasons"] == ["the instance is stopping"]
        answer = instance.ask("auto")
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert "x-router-degraded" not in answer.headers
        assert instance.process.wait(20) == 0
        assert time.monotonic() - stopping > 8
        assert not instance.accepts_connections()
    assert not (instance.state / "stopping").exists()


def test_a_second_ctrl_c_does_not_wait_for_drain_delay(simulators: Simulators, tmp_path: Path) -> None:
    """Who presses it again wants an end."""
    text = configuration(simulators).replace("drain_timeout", "drain_delay: 5m, drain_timeout")
    with running(Instance(tmp_path, text)) as instance:
        assert instance.process is not None
        instance.process.send_signal(signal.SIGINT)
        until(lambda: not instance.is_ready())
        instance.process.send_signal(signal.SIGINT)
        assert instance.process.wait(20) == 0


def test_an_instance_ends_only_after_its_streams(tmp_path: Path) -> None:
    """From SIGTERM on nobody can connect, and the processes end in order once the last stream has: with exit code 0."""
    with (
        at_work(HeldStreams()) as provider,
        running(Instance(tmp_path, CONFIGURATION.format(one=provider.host, workers=2))) as instance,
    ):
        with Load([instance.port], STREAMS, connections=8, requests=8) as load:
            until(lambda: provider.open == 8)
            assert instance.process is not None
            instance.process.send_signal(signal.SIGTERM)
            until(lambda: not instance.accepts_connections())
            assert load.open == 8
            provider.end()
            load.join()
        assert instance.process.wait(20) == 0
        assert not load.not_served
        assert len(instance.decisions()) == 8


def test_an_observer_that_stands_still_at_the_end_misses_nothing(tmp_path: Path) -> None:
    """What the last answers left in the log is read before Envoy, who wrote it, ends."""
    with (
        at_work(HeldStreams()) as provider,
        running(Instance(tmp_path, CONFIGURATION.format(one=provider.host, workers=2))) as instance,
    ):
        with Load([instance.port], STREAMS, connections=8, requests=8) as load:
            until(lambda: provider.open == 8)
            [observer] = instance.pids("observer")
            os.kill(observer, signal.SIGSTOP)
            try:
                provider.end()
                load.join()
                assert instance.process is not None
                instance.process.send_signal(signal.SIGTERM)
                until(lambda: not instance.accepts_connections())
                # Longer than Envoy takes to end where nobody is connected any more.
                time.sleep(1)
            finally:
                os.kill(observer, signal.SIGCONT)
        assert instance.process.wait(20) == 0
        assert len(instance.decisions()) == 8


def test_streams_that_outlast_the_drain_timeout_are_ended(simulators: Simulators, tmp_path: Path) -> None:
    """`workers.drain_timeout` bounds the wait; what it cut off looks cut to the client, not complete."""
    text = configuration(simulators).replace("drain_timeout: 60s", "drain_timeout: 1s")
    simulators.faults("one", stall_after_tokens=3)
    with running(Instance(tmp_path, text)) as instance:
        with Load([instance.port], STREAMS, connections=4, requests=4) as load:
            until(lambda: simulators.stats("one")["open_streams"] == 4)
            started = time.monotonic()
            instance.stop()
            assert time.monotonic() - started < 15
            load.join()
        assert len(load.not_served) == 4
        assert all(outcome.failure for outcome in load.outcomes)
    simulators.faults("one", **PACE)


def test_serve_hands_over_to_the_default_chain_and_back(simulators: Simulators, tmp_path: Path) -> None:
    """A sidecar beside an Envoy that goes on: SIGTERM of `serve` cuts nothing, and a new one is used at once."""
    with (
        sidecar(Instance(tmp_path, configuration(simulators))) as instance,
        Load([instance.port], STREAMS, connections=20) as load,
    ):
        load.until_open(20)
        load.after(10)
        assert not load.not_decided
        end(instance)
        load.after(30)
        instance.start(command="serve")
        until(lambda: instance.serving_workers() == 2)
        # Envoy's threads hear of them one after the other.
        load.after(40)
        again = time.monotonic()
        load.after(60)
    assert not load.not_served
    assert {outcome.headers.get("x-router-degraded") for outcome in load.outcomes} == {None, "router-unavailable"}
    assert all(outcome.is_decided for outcome in load.outcomes if outcome.started > again)


@contextlib.contextmanager
def sidecar(instance: Instance) -> Iterator[Instance]:
    """`serve`, and an Envoy that somebody else runs with the files that it wrote."""
    instance.start(command="serve")
    try:
        with instance.foreign_envoy():
            yield instance
    finally:
        instance.stop()


def test_ctrl_c_ends_everything(simulators: Simulators, tmp_path: Path) -> None:
    """SIGINT to the whole process group, as a terminal sends it, ends all processes quickly and without a traceback."""
    with running(Instance(tmp_path, configuration(simulators), own_group=True)) as instance:
        assert instance.process is not None
        children = [pid for role in ("worker", "observer", "envoy") for pid in instance.pids(role)]
        os.killpg(instance.process.pid, signal.SIGINT)
        assert instance.process.wait(20) == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
        assert "Traceback" not in instance.logs()
