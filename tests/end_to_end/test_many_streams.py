"""Thousands of answers under way at once, and very late ones: none is lost, and none goes undecided in silence."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone, pytest.mark.timeout(240)]

ORDINARY, WATCHED = 1_500, 500
HELD_SECONDS = 30
LATE_SECONDS = 45

# `watched` streams keep an exchange with a worker open for as long as they run.
CONFIGURATION = """
providers:
  many: {{base_url: "{many}/v1"}}
  late: {{base_url: "{late}/v1"}}
models:
  small:
    tier: economy
    context_window: 100000
    output_limit: 10000
    prices: {{input: 1, output: 2}}
    deployments: [{{provider: many, model: id-at-many}}]
  late:
    tier: economy
    context_window: 100000
    output_limit: 10000
    prices: {{input: 1, output: 2}}
    deployments: [{{provider: late, model: id-at-late}}]
routes:
  auto: {{targets: [small]}}
  watched: {{targets: [small], timeouts: {{first_token: 90s}}}}
  late-watched: {{targets: [late], timeouts: {{first_token: 90s}}}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
"""


@pytest.fixture(scope="module")
def _many_sockets() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory, _many_sockets: None) -> Iterator[Simulators]:
    deployments = {
        "many": {"models": ["id-at-many"], "faults": {"first_token_ms": HELD_SECONDS * 1_000, "tokens": 3}},
        "late": {"models": ["id-at-late"], "faults": {"first_token_ms": LATE_SECONDS * 1_000, "tokens": 3}},
    }
    with contextlib.closing(Simulators(tmp_path_factory.mktemp("providers"), deployments, record=False)) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    text = CONFIGURATION.format(many=simulators.url("many"), late=simulators.url("late"))
    with running(Instance(tmp_path_factory.mktemp("instance"), text)) as instance:
        yield instance


def decided(instance: Instance) -> float:
    """How many requests the workers say they have decided."""
    lines = instance.admin.get(f"{instance.admin_url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("router_worker_decisions_total{"))


def test_two_thousand_streams_at_once_and_a_first_token_after_45_seconds(instance: Instance, simulators: Simulators) -> None:
    """All are open at one moment, all were decided by a worker, all end whole; so do answers that begin after 45 s."""
    every_fourth = [chat("auto", stream=True)] * 3 + [chat("watched", stream=True)]
    late_ones = [chat("late", stream=True), chat("late"), chat("late-watched", stream=True)]
    total = ORDINARY + WATCHED
    with (
        Load([instance.port], late_ones, connections=3, requests=3) as late,
        Load([instance.port], every_fourth, connections=total, requests=total) as many,
    ):
        until(lambda: simulators.stats("many")["open_streams"] == total, seconds=HELD_SECONDS)
        assert many.open == total
    for load, number in ((many, total), (late, 3)):
        assert len(load.outcomes) == number
        assert not load.not_served
        assert not load.not_decided
    assert min(outcome.ended - outcome.started for outcome in late.outcomes) >= LATE_SECONDS
    assert simulators.stats("many")["requests"] == total
    assert instance.envoy_figures("ext_proc.failure_mode_allowed$")["http.clients.ext_proc.failure_mode_allowed"] == 0
    assert until(lambda: decided(instance) == total + 3)
