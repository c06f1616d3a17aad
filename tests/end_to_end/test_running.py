"""What the harness starts never outlives the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.running import Instance, Simulators, until

pytestmark = pytest.mark.end_to_end

ROOT = Path(__file__).parents[2]


def is_running(pid: int) -> bool:
    """Whether a process is still there; one that has ended and that nobody asked about is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_and_wait(folder: Path) -> None:
    """What the killed tests do: start everything, say who runs, and never come to their end."""
    simulators = Simulators(folder, {"one": {}})
    instance = Instance(folder / "instance", simulators.fill("providers: {one: {base_url: $one/v1, models: [gpt-4o]}}"))
    instance.start()
    assert instance.process is not None
    pids = [simulators.process.pid, instance.process.pid]
    pids += [pid for role in ("worker", "observer", "envoy") for pid in instance.pids(role)]
    sys.stdout.write(f"{json.dumps(pids)}\n")
    sys.stdout.flush()
    signal.pause()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to the one that started it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_tests_that_were_killed(tmp_path: Path, number: signal.Signals) -> None:
    """Simulators, supervisor, workers, observer and Envoy all end when the tests are killed before their own end."""
    program = f"import pathlib; from {__name__} import start_and_wait; start_and_wait(pathlib.Path({str(tmp_path)!r}))"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as tests:
        try:
            assert tests.stdout is not None
            pids = json.loads(tests.stdout.readline())
        finally:
            os.kill(tests.pid, number)
    assert len(pids) >= 5, "two processes of the harness, a worker, the observer and Envoy"
    until(lambda: not [pid for pid in pids if is_running(pid)])
