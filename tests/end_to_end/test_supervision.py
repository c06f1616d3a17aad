"""One instance as an operator sees it: its processes, what happens when it cannot start, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router_extproc.config.state import StateDirectory
from tests.end_to_end.running import Instance, Simulators, running, until
from tests.json_lines import whole_lines
from tests.tied import tied

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
providers:
  one: {{base_url: "{one}/v1", models: [gpt-4o]}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
"""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    with contextlib.closing(Simulators(tmp_path_factory.mktemp("providers"), {"one": {}})) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def text(simulators: Simulators) -> str:
    return CONFIGURATION.format(one=simulators.url("one"))


@pytest.fixture(scope="module")
def instance(text: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), text, own_group=True)) as instance:
        yield instance


def start(instance: Instance, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """An instance that is expected not to come up; what it said, and its exit code."""
    line = tied([sys.executable, "-m", "router_extproc", "up", "--config", str(instance.file)])
    return subprocess.run(line, cwd=instance.folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def first_words(instance: Instance) -> list[str]:
    """How the supervisor and its children call themselves."""
    assert instance.process is not None
    supervisor = instance.process.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in (supervisor, *children)]
    return sorted(Path(line.split(" ")[0]).name for line in lines)


def test_every_process_shows_its_role(instance: Instance) -> None:
    """As the first word of its command line; all are children of the supervisor, in its process group."""
    names = [
        "envoy",
        "router-extproc-observer",
        "router-extproc-supervisor",
        "router-extproc-worker-0",
        "router-extproc-worker-1",
    ]
    assert first_words(instance) == names
    assert instance.process is not None
    groups = {os.getpgid(pid) for role in ("worker", "observer", "envoy") for pid in instance.pids(role)}
    assert groups == {instance.process.pid}


def test_commands_find_the_instance(instance: Instance) -> None:
    """What it wrote beside router.yaml: its process and its addresses."""
    content = json.loads((instance.state / "instance.json").read_bytes())
    assert instance.process is not None
    assert content == {
        "pid": instance.process.pid,
        "clients": instance.url,
        "admin": instance.admin_url,
        "envoy_admin": instance.envoy_url,
    }


@pytest.mark.parametrize(
    ("port", "key", "option"),
    [
        ("port", "listener.port", "--port"),
        ("admin_port", "admin.port", "--admin-port"),
        ("envoy_port", "envoy.admin_port", "--envoy-admin-port"),
    ],
)
def test_a_taken_port_is_a_clear_error(text: str, tmp_path: Path, port: str, key: str, option: str) -> None:
    """One line that names the address, the key and the option, exit code 1, and nothing was started."""
    instance = Instance(tmp_path, text)
    with socket.create_server(("127.0.0.1", getattr(instance, port))):
        ended = start(instance)
    address = f"127.0.0.1:{getattr(instance, port)}"
    [line] = ended.stderr.splitlines()
    assert line == (
        f"router-extproc: {key}: cannot listen on {address}: Address already in use;"
        f" set {key} in router.yaml, or {option} on the command line, to a free port"
    )
    assert ended.returncode == 1
    assert not (instance.state / "envoy" / "bootstrap.json").exists()


def test_a_second_instance_in_the_same_place_is_refused(instance: Instance) -> None:
    """It says whose place it is, and the first one does not notice."""
    assert instance.process is not None
    ended = start(instance)
    assert ended.returncode == 1
    assert f"another instance (process {instance.process.pid}) runs in {instance.state}" in ended.stderr
    assert instance.ask().status_code == 200


def test_a_bad_file_is_an_error_of_one_line_for_each_problem(text: str, tmp_path: Path) -> None:
    """File, line, column, key and fix; exit code 1."""
    instance = Instance(tmp_path, text + "modles: {}\n")
    ended = start(instance)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"{instance.file}:8:1: error: modles: ")


def test_what_keeps_dying_at_the_start_is_an_error_that_names_its_log(text: str, tmp_path: Path) -> None:
    """A worker that cannot start ends the attempt within seconds instead of being tried for ever."""
    instance = Instance(tmp_path, text)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "grpc_health.py").write_text("raise ImportError('broken on purpose')")
    ended = start(instance, {**os.environ, "PYTHONPATH": str(tmp_path / "broken")})
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert "does not start; see " in last
    assert "broken on purpose" in Path(last.rpartition("see ")[2]).read_text()


def test_a_worker_that_keeps_dying_is_started_with_longer_and_longer_pauses(instance: Instance) -> None:
    """The log says each time how long the pause is; meanwhile requests are served, and decided by the other worker."""
    log = instance.folder / "up.log"
    before = len(pauses(log))
    for number in range(1, 4):
        pid = until(lambda: next((pid for pid in instance.pids("worker") if is_worker(pid, 0)), None), seconds=20)
        os.kill(pid, signal.SIGKILL)
        until(lambda number=number: len(pauses(log)) == before + number)
        answer = instance.ask()
        assert (answer.status_code, "x-router-degraded" in answer.headers) == (200, False)
    assert pauses(log)[before:] == [0.1, 0.2, 0.4]
    until(lambda: instance.serving_workers() == 2)


def is_worker(pid: int, index: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended this moment
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"router-extproc-worker-{index}".encode())
    return False


def pauses(log: Path) -> list[float]:
    return [line["pause_seconds"] for line in whole_lines(log) if line["message"] == "process ended, starting it again"]


def test_an_ended_instance_leaves_no_process_and_no_socket(text: str, tmp_path: Path) -> None:
    """Its logs and decisions stay; a later start finds nothing in its way, even after a kill -9."""
    instance = Instance(tmp_path, text)
    sockets = StateDirectory(instance.state).sockets
    with running(instance):
        assert instance.process is not None
        children = [pid for role in ("worker", "observer", "envoy") for pid in instance.pids(role)]
        instance.process.kill()
        instance.process.wait()
        assert list(sockets.iterdir())
        # Each of them has a port or a file that the next one needs.
        until(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])
        instance.start()
        assert len(list(sockets.glob("worker-*.*.sock"))) == 2
        assert instance.ask().status_code == 200
        until(instance.decisions)
        instance.process.terminate()
        assert instance.process.wait(20) == 0
    assert not (instance.state / "instance.json").exists()
    assert list(sockets.glob("worker-*.sock")) == []
    assert len(instance.decisions()) == 1
