"""Streams by the thousand: each one holds connections for as long as it runs, and none may pass undecided for it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(240)]

STREAMS = 1_500
JUDGED = 300
SLOW_SECONDS = 45

CONFIGURATION = """
workers: {{count: 2}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
providers:
  slow: {{base_url: "{slow}/v1", models: [slow]}}
  default: {{base_url: "{default}/v1", models: [default]}}
routes:
  judged: {{targets: [slow], timeouts: {{first_token: 90s}}}}
default_chain: [default]
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    # A stream's headers come at once, its first token late: as a model that thinks.
    slow = {"models": ["slow"], "faults": {"first_token_ms": SLOW_SECONDS * 1_000, "tokens": 3}}
    found = Simulators(tmp_path_factory.mktemp("simulators"), {"slow": slow, "default": {"models": ["default"]}}, record=False)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder: Path = tmp_path_factory.mktemp("instance")
    text = CONFIGURATION.format(slow=simulators.url("slow"), default=simulators.url("default"))
    with running(Instance(folder, text)) as found:
        yield found


def test_1500_slow_streams_at_once_are_all_decided_and_all_complete(instance: Instance, simulators: Simulators) -> None:
    """All open together, 300 more of them held by a leg, first tokens after 45 s: each was decided, and none broke."""
    needed = 4 * (STREAMS + JUDGED)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= needed, f"the machine allows {hard} open files, this test needs {needed}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    plain = Load([instance.port], [chat("slow", stream=True)], connections=STREAMS, requests=STREAMS)
    judged = Load([instance.port], [chat("judged", stream=True)], connections=JUDGED, requests=JUDGED)
    with plain, judged:
        plain.until_open(STREAMS)
        judged.until_open(JUDGED)
        plain.join(120)
        judged.join(120)
    outcomes = plain.outcomes + judged.outcomes
    assert len(outcomes) == STREAMS + JUDGED
    assert plain.not_served + judged.not_served == []
    assert plain.not_decided + judged.not_decided == []
    assert min(outcome.ended - outcome.started for outcome in outcomes) >= SLOW_SECONDS
    assert simulators.stats("slow")["peak_open_streams"] == STREAMS + JUDGED
    assert simulators.stats("default")["requests"] == 0
    figures = instance.envoy_figures("http.clients.ext_proc")
    assert figures["http.clients.ext_proc.failure_mode_allowed"] == 0
    assert figures["http.clients.ext_proc.streams_started"] >= STREAMS + JUDGED
