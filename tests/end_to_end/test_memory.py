"""What a worker holds in memory: little, and not more the longer it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(240)]

MEBIBYTE = 1 << 20
REQUESTS = 10_000
MOST_BYTES = 120_000_000
IN_FLIGHT_BYTES = 64 * MEBIBYTE

CONFIGURATION = """
workers: {{count: 1}}
limits: {{max_body_bytes_in_flight: 64MiB}}
providers:
  one: {{base_url: "{url}/v1", models: [unlimited]}}
aliases: {{renamed: unlimited}}
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    found = Simulators(tmp_path_factory.mktemp("simulators"), {"one": {}}, record=False)
    yield found
    found.stop()


@pytest.fixture
def instance(simulators: Simulators, tmp_path: Path) -> Iterator[Instance]:
    with running(Instance(tmp_path, CONFIGURATION.format(url=simulators.url("one")))) as found:
        yield found


def status(pid: int, key: str) -> int:
    """A figure of /proc/PID/status in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def test_a_worker_stays_small(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """After 10,000 ordinary requests, plain and streamed, it holds less than 120 MB."""
    [worker] = instance.pids("worker-0")
    before = status(worker, "VmRSS")
    bodies = [chat("auto"), chat("renamed", size=2_000), chat("unlimited", size=20_000, stream=True)]
    with Load([instance.port], bodies, connections=16, requests=REQUESTS, keep_bodies=False) as load:
        load.join(180)
    assert len(load.outcomes) == REQUESTS
    assert load.not_decided == []
    assert {outcome.status for outcome in load.outcomes} == {200}
    assert instance.pids("worker-0") == [worker]
    after = status(worker, "VmRSS")
    with capsys.disabled():
        print(f"\nworker: {before / 1e6:.0f} MB at first, {after / 1e6:.0f} MB after {REQUESTS} requests")  # noqa: T201 - a figure to read
    assert after < MOST_BYTES


def test_large_bodies_wait_for_one_another(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve bodies of 20 MiB at once: all are decided, and the worker never holds all of them."""
    [worker] = instance.pids("worker-0")
    before = status(worker, "VmRSS")
    size = 20 * MEBIBYTE
    with Load([instance.port], [chat("renamed", size=size)], connections=12, requests=12) as load:
        load.join(150)
    assert [outcome.status for outcome in load.outcomes] == [200] * 12, load.not_served
    assert load.not_decided == []
    peak = status(worker, "VmHWM")
    with capsys.disabled():
        print(f"\nworker: {before / 1e6:.0f} MB at first, {peak / 1e6:.0f} MB at most with 12 bodies of 20 MiB")  # noqa: T201 - a figure to read
    # Three bodies fit into the limit at a time; each is held up to four times while it is read, changed and sent.
    assert peak - before < 4 * IN_FLIGHT_BYTES
    assert peak - before < 12 * size
