"""The service calls nobody on its own: what leaves the machine leaves through Envoy, to the providers of router.yaml."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

AUDITED = Path(__file__).parent / "audited"
CONFIGURATION = """
providers:
  one: {{base_url: "{one}/v1", models: [gpt-5.4-mini]}}
  two: {{base_url: "{two}/v1", models: [gpt-5.4]}}
routes:
  both: {{targets: [gpt-5.4-mini, gpt-5.4], check: {{answer: true}}, timeouts: {{first_token: 20s}}}}
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    simulators = Simulators(tmp_path, {"one": {"faults": {"status": 500}}, "two": {}})
    text = CONFIGURATION.format(one=simulators.url("one"), two=simulators.url("two"))
    environment = {"PYTHONPATH": str(AUDITED), "AUDIT_LOG": str(tmp_path / "audit.log")}
    try:
        with running(Instance(tmp_path / "instance", text, environment=environment)) as found:
            yield found
    finally:
        simulators.stop()


def entries(folder: Path) -> list[list[str]]:
    file = folder / "audit.log"
    return [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def internet_sockets(pid: int) -> list[str]:
    """The process's sockets that could reach another machine."""
    inodes = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.readlink().name.startswith("socket:")}
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6", "udp", "udp6")]
    return [row for table in tables for row in table if f"socket:[{row.split()[9]}]" in inodes]


def test_workers_talk_to_envoy_alone(instance: Instance, tmp_path: Path) -> None:
    """From start to stop, over every kind of request, a worker connects nowhere and looks up no name."""
    with instance.client() as client:
        for model in ("auto", "both", "gpt-5.4"):
            client.chat.completions.create(model=model, messages=HELLO)
            list(client.chat.completions.create(model=model, messages=HELLO, stream=True))
        client.models.list()
    assert instance.ask("both", headers={"x-router-dry-run": "1"}).status_code == 200
    instance.admin.post(f"{instance.admin_url}/explain", json={"model": "auto", "messages": HELLO}).raise_for_status()
    instance.admin.get(f"{instance.admin_url}/metrics").raise_for_status()
    instance.write(instance.configuration + "\naliases: {other: gpt-5.4}\n")
    until(lambda: instance.ask("other").status_code == 200)
    workers = instance.pids("worker")
    assert len(workers) == 2
    assert [internet_sockets(pid) for pid in workers] == [[], []]
    seen = entries(tmp_path)
    assert [entry for entry in seen if entry[0].startswith("router-extproc-worker")] == []
    assert all("127.0.0.1" in entry[2] or entry[2].startswith(("'/", "None")) for entry in seen), seen


def test_the_audit_would_have_seen_a_connection(tmp_path: Path) -> None:
    """The proof above is worth something only if a connection does leave its line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        environment = {"PYTHONPATH": str(AUDITED), "AUDIT_LOG": str(tmp_path / "audit.log")}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert {entry[1] for entry in entries(tmp_path)} == {"socket.getaddrinfo", "socket.connect"}
