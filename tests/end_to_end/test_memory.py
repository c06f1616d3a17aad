"""What a worker holds in memory: little after ten thousand requests, and a bounded amount under the largest bodies."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from router_extproc.analysis.encoders.static import TABLE_FILE
from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone, pytest.mark.timeout(240)]

MEBIBYTE = 1 << 20
REQUESTS = 10_000
MOST_RESIDENT = 180_000_000
IN_FLIGHT_LIMIT = 64 * MEBIBYTE

CONFIGURATION = """
limits: {{max_body_bytes_in_flight: 64MiB}}
providers:
  one: {{base_url: "{one}/v1"}}
models:
  small:
    tier: economy
    context_window: 100000000
    output_limit: 10000
    capabilities: [tools, vision, json_mode]
    prices: {{input: 1, output: 2}}
    deployments: [{{provider: one, model: id-at-one}}]
cooling: {{failures: 1000, failure_ratio: 1.0}}
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    deployments = {"one": {"models": ["id-at-one"]}}
    with contextlib.closing(Simulators(tmp_path_factory.mktemp("providers"), deployments, record=False)) as simulators:
        yield simulators


@pytest.fixture
def instance(simulators: Simulators, tmp_path: Path) -> Iterator[Instance]:
    with running(Instance(tmp_path, CONFIGURATION.format(one=simulators.url("one")))) as instance:
        yield instance


def status(pid: int, key: str) -> int:
    """A size from the kernel's view of a process, in bytes: VmRSS now, VmHWM at most so far."""
    match = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1_024


def counters(instance: Instance) -> list[dict[str, Any]]:
    """What each worker last wrote about itself."""
    return [json.loads(path.read_bytes()) for path in (instance.state / "counters").glob("worker-*.json")]


def tell(capsys: pytest.CaptureFixture[str], what: str, sizes: Iterable[int]) -> None:
    """Shows a measured figure for each worker, also when the test passes."""
    with capsys.disabled():
        sys.stdout.write(f"\nworkers, {what}: {', '.join(f'{size / 1e6:.1f} MB' for size in sizes)}\n")


@contextlib.contextmanager
def sampled(what: Callable[[], int]) -> Iterator[list[int]]:
    """Looks ten times a second for as long as the block runs."""
    found: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            found.append(what())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def test_a_worker_stays_small_over_ten_thousand_requests(
    instance: Instance, simulators: Simulators, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ordinary requests, each analysed, streams among them: afterwards each worker resides in less than 180 MB."""
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    bodies = [chat(size=500), chat(size=4_000), chat(stream=True), chat(size=16_000), chat(tools=[tool])]
    with Load([instance.port], bodies, connections=16, requests=REQUESTS, keep_bodies=False) as load:
        load.join(seconds=150)
    assert len(load.outcomes) == REQUESTS
    assert not load.not_served
    assert not load.not_decided
    until(lambda: sum(worker["decided"] for worker in counters(instance)) == REQUESTS)
    resident = [status(pid, "VmRSS") for pid in instance.pids("worker")]
    tell(capsys, f"resident after {REQUESTS} requests", resident)
    assert len(resident) == 2
    assert max(resident) < MOST_RESIDENT


def mapped(pid: int, file: str) -> dict[str, int]:
    """The kernel's figures, in kB, for the part of a process's memory that is this file, by name."""
    found: dict[str, int] = {}
    is_part = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = found.get(name, 0) + (int(value.split()[0]) if is_part else 0)
        elif "-" in name:
            is_part = line.endswith(f"/{file}")
    return found


def test_workers_share_the_table_of_the_classifier(instance: Instance) -> None:
    """The largest part of the classifier is mapped by all workers, and no worker has a page of it for itself."""
    for _ in range(20):
        assert instance.ask(messages=[{"role": "user", "content": "Compare the causes of both revolutions."}]).is_success
    for pid in instance.pids("worker"):
        table = mapped(pid, TABLE_FILE)
        assert table["Shared_Clean"] > 100
        assert table["Private_Dirty"] == table["Shared_Dirty"] == 0


def test_the_largest_bodies_are_bounded_in_flight(instance: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve bodies of 20 MiB at once are all decided, by workers that never hold more than the limit says."""
    small = {pid: status(pid, "VmRSS") for pid in instance.pids("worker")}
    with (
        sampled(lambda: max((worker["in_flight_bytes"] for worker in counters(instance)), default=0)) as in_flight,
        Load([instance.port], [chat(size=20 * MEBIBYTE)], connections=12, requests=24) as load,
    ):
        load.join()
    assert len(load.outcomes) == 24
    assert not load.not_served
    assert not load.not_decided
    peaks = {pid: status(pid, "VmHWM") for pid in instance.pids("worker")}
    tell(capsys, "resident at most under 12 bodies of 20 MiB", peaks.values())
    assert set(peaks) == set(small)
    assert 0 < max(in_flight) <= IN_FLIGHT_LIMIT
    # Beside the bytes that are counted a body exists as gRPC's buffer, as Python's object and as the changed answer.
    assert max(peaks[pid] - small[pid] for pid in peaks) < 4 * IN_FLIGHT_LIMIT
