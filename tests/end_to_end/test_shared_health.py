"""Two replicas over one Redis, through the real Envoy: what fails for one both leave alone, and one request tries again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until
from tests.end_to_end.stopwatch import Stopwatch
from tests.redis_servers import RedisServer, single_redis

pytestmark = pytest.mark.end_to_end

# The longest until all replicas know.
SECONDS = 1.0
CASES = ("spread", "crowd", "used-up", "alone")


def configuration(store: str) -> str:
    models = "".join(f"  {case}: {{deployments: [{{provider: flaky}}]}}\n" for case in CASES)
    routes = "".join(f"  to-{case}: {{targets: [{case}, steady], same_tier: false}}\n" for case in CASES)
    return (
        f"workers: {{count: 1}}\nstore: {{redis: {{url: {store}}}}}\ncooling: {{failures: 3, time: 4s, max_time: 60s}}\n"
        "providers:\n  flaky: {base_url: $flaky/v1}\n  steady: {base_url: $steady/v1}\n"
        f"models:\n{models}  steady: {{deployments: [{{provider: steady}}]}}\nroutes:\n{routes}"
    )


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    started = Simulators(tmp_path_factory.mktemp("simulators"), {"flaky": {}, "steady": {}})
    yield started
    started.stop()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def replicas(
    simulators: Simulators, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Instance, Instance]]:
    text = simulators.fill(configuration(redis_server.url))
    with ExitStack() as stack:
        one, two = (stack.enter_context(running(Instance(tmp_path_factory.mktemp(name), text))) for name in ("one", "two"))
        until(lambda: _instances(one) == _instances(two) == 2)
        yield one, two


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


def _instances(instance: Instance) -> float:
    """How many replicas' findings count for this one."""
    lines = instance.admin.get(f"{instance.admin_url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("router_health_instances ")).split()[1])


def _deployment(instance: Instance, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((instance.state / "health.json").read_bytes())["deployments"].get(name, {})
    return found


def _fails_for(instance: Instance, case: str) -> None:
    """Three failures, all of this replica's traffic; returns when its own deciders are told."""
    for _ in range(3):
        assert instance.ask(f"to-{case}").status_code == 200
    until(lambda: instance.health(f"flaky/{case}") == "open", step=0.01)


@pytest.mark.alone  # a second over several instances
def test_what_fails_for_one_is_left_alone_by_both(replicas: tuple[Instance, Instance], simulators: Simulators) -> None:
    """Within a second the other replica, which never called it, calls it no more; in the end both use it again."""
    one, two = replicas
    simulators.faults("flaky", status=503)
    _fails_for(one, "spread")
    simulators.heal()
    with Stopwatch() as watch:
        time.sleep(SECONDS)
    time.sleep(watch.lost)
    for _ in range(5):
        answer = two.ask("to-spread")
        assert (answer.headers["x-router-deployment"], answer.headers["x-router-attempts"]) == ("steady/steady", "1")
    assert simulators.asked() == {"steady": 5}
    assert _deployment(two, "flaky/spread")["open_until"] == _deployment(one, "flaky/spread")["open_until"]
    for instance in replicas:
        until(lambda: instance.ask("to-spread").headers["x-router-deployment"] == "flaky/spread", seconds=20)  # noqa: B023
    for instance in replicas:
        until(lambda: instance.health("flaky/spread") == "closed")  # noqa: B023
        assert instance.ask("to-spread").headers["x-router-deployment"] == "flaky/spread"


def test_one_request_of_all_replicas_tries_again(replicas: tuple[Instance, Instance], simulators: Simulators) -> None:
    """Under load on both exactly one request is the probe; while it is under way all others are served elsewhere."""
    one, two = replicas
    simulators.faults("flaky", status=503)
    _fails_for(two, "crowd")
    for instance in replicas:
        until(lambda: instance.ask("to-crowd").headers["x-router-attempts"] == "1")  # noqa: B023
    simulators.heal()
    # So slow that the other replica's turn comes while the probe is under way.
    simulators.faults("flaky", latency_ms=5_000)
    with Load([one.port, two.port], [chat("to-crowd")], connections=6, pause=0.02) as load:
        until(lambda: len(simulators.requests("flaky")) > 5, seconds=30)
    assert load.not_served == []
    probe, *later = (request["received_at"] for request in simulators.requests("flaky"))
    assert later[0] - probe >= 5, "somebody else came before the probe was answered"


@pytest.mark.alone  # a second over several instances
def test_a_quota_used_up_for_one_is_used_up_for_both(replicas: tuple[Instance, Instance], simulators: Simulators) -> None:
    """The other replica knows of it within a second, without a request of its own."""
    one, two = replicas
    simulators.faults("flaky", response_headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30s"})
    assert one.ask("to-used-up").headers["x-router-deployment"] == "flaky/used-up"
    until(lambda: _deployment(one, "flaky/used-up").get("quota_until"), step=0.01)
    with Stopwatch() as watch:
        until(lambda: _deployment(two, "flaky/used-up").get("quota_until"), step=0.02)
    assert watch.seconds < SECONDS


def test_without_redis_each_goes_by_its_own_findings(
    replicas: tuple[Instance, Instance], simulators: Simulators, redis_server: RedisServer
) -> None:
    """Nothing waits for it, what fails for one is left alone by that one; when it is back both know again."""
    one, two = replicas
    redis_server.kill()
    simulators.faults("flaky", {"status": 503, "times": 3}, {})
    _fails_for(one, "alone")
    until(lambda: _instances(one) == _instances(two) == 1)
    assert two.ask("to-alone").headers["x-router-deployment"] == "flaky/alone"
    redis_server.start()
    until(lambda: _instances(one) == _instances(two) == 2)
    for instance in replicas:
        until(lambda: instance.ask("to-alone").headers["x-router-deployment"] == "flaky/alone", seconds=20)  # noqa: B023
    for instance in replicas:
        log = instance.state / "logs" / "observer.log"
        until(lambda: "without the other instances' findings" in log.read_text())  # noqa: B023
        assert log.read_text().count("without the other instances' findings") <= 3, "it is not said again and again"
