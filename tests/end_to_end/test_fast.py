"""`fast` follows the live figures: whoever has become the quickest gets the requests."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """\
providers:
  near: {base_url: "$near/v1", models: [model-near]}
  far: {base_url: "$far/v1", models: [model-far]}
"""


def served(instance: Instance, count: int) -> Counter[str]:
    """Which models answered so many requests to `fast`."""
    answers = [instance.ask("fast") for _ in range(count)]
    assert {answer.status_code for answer in answers} == {200}
    return Counter(answer.headers["x-router-model"] for answer in answers)


def test_fast_moves_with_the_latency(tmp_path: Path) -> None:
    """The nearer provider is preferred until it becomes the slower one; then the other is, within some requests."""
    with contextlib.closing(Simulators(tmp_path, {"near": {}, "far": {}})) as simulators:
        simulators.faults("near", latency_ms=5)
        simulators.faults("far", latency_ms=60)
        with running(Instance(tmp_path / "instance", simulators.fill(CONFIGURATION))) as instance:
            until(lambda: len(served(instance, 4)) == 2)  # both are tried while nothing is known
            until(lambda: served(instance, 6)["model-near"] == 6)
            simulators.faults("near", latency_ms=200)
            until(lambda: served(instance, 6)["model-far"] == 6, seconds=40)
            figures = instance.admin.get(f"{instance.admin_url}/health/deployments").json()["deployments"]
            medians = [figures[name]["time_to_first_byte_ms"] for name in ("far/model-far", "near/model-near")]
            assert 50 < medians[0] < medians[1]
