"""The process that tests and benchmarks start."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import msgspec
import pytest

from router_extproc.simulator.__main__ import main

CONFIG = b'{"deployments": [{"name": "main"}, {"name": "spare"}]}'


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_ends_when_told(tmp_path: Path, stop: signal.Signals) -> None:
    """One line of JSON with the ports; a signal ends it with exit code 0."""
    file = tmp_path / "providers.json"
    file.write_bytes(CONFIG)
    command = [sys.executable, "-m", "router_extproc.simulator", "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            ports = msgspec.json.decode(process.stdout.readline())["ready"]
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['spare']}/v1/models", timeout=30) as response:
                assert response.status == 200
            process.send_signal(stop)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert sorted(ports) == ["main", "spare"]
    assert (process.returncode, errors) == (0, b"")


def test_a_wrong_configuration_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is on standard error."""
    assert main(["--config", str(tmp_path / "nowhere.json")]) == 2
    assert "No such file" in capsys.readouterr().err
