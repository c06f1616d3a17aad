"""The real Envoy on a rendered configuration."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import render
from router_extproc.registry.snapshot import Registry
from tests.envoyconf.samples import Folders
from tests.kept_ports import KeptPort

ENVOY = Path(sys.executable).parent / "envoy"


_kept: list[KeptPort] = []


def free_port() -> int:
    """One that nobody else is given as long as these tests run, and that refuses whoever connects until somebody listens."""
    _kept.append(KeptPort())
    return _kept[-1].number


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Puts rendered files in place, each by a rename."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)


class Envoy:
    """One Envoy; its files lie below ``root``, its sockets in ``sockets``."""

    def __init__(self, root: Path, config: RouterConfig, registry: Registry, environ: Mapping[str, str] | None = None) -> None:
        self.folders = Folders(root)
        self.config, self.registry, self.environ = config, registry, dict(environ or {})
        for folder in (self.folders.sockets, self.folders.logs, self.folders.envoy):
            folder.mkdir(parents=True, exist_ok=True)
        self.render()
        scheme = "https" if config.listener.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{config.listener.port}"
        self.admin_url = f"http://127.0.0.1:{config.envoy.admin_port}"
        self.process: subprocess.Popen[bytes] | None = None

    def render(self) -> None:
        write(render(self.config, self.registry, self.folders, 1, self.environ), self.folders.envoy)

    def start(self) -> Envoy:
        command = [ENVOY, "-c", self.folders.envoy / "bootstrap.json", "--concurrency", "1", "--disable-hot-restart"]
        command += ["--file-flush-interval-msec", "20", "--log-level", "warning"]
        command += ["--log-path", self.folders.logs / "envoy.log"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.until(lambda: self._admin_text("/ready").startswith("LIVE"))
        return self

    def until(self, holds: Any, seconds: float = 15) -> None:
        """Waits until something is so, or fails with what Envoy says."""
        end = time.monotonic() + seconds
        while not holds():
            assert self.process is None or self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def stats(self, part: str) -> dict[str, int]:
        """Counters and gauges whose name contains ``part``."""
        lines = [line.partition(": ") for line in self._admin_text("/stats").splitlines() if part in line]
        return {name: int(value) for name, _, value in lines if value.isdigit()}

    def config_dump(self) -> str:
        return self._admin_text("/config_dump?include_eds")

    def access_log(self, decision: str) -> dict[str, Any]:
        """The line of one request, once it is there."""
        return self.lines(decision)[-1]

    def lines(self, decision: str) -> list[dict[str, Any]]:
        """The lines of one request, once they are all there: those of its attempts in order, then its own."""
        found: list[dict[str, Any]] = []

        def are_there() -> bool:
            written = (self.folders.logs / "access.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
            mine = [entry for entry in map(json.loads, written) if entry["decision"] == decision]
            attempts = sorted((entry for entry in mine if entry["kind"] == "attempt"), key=lambda entry: int(entry["attempt"]))
            requests = [entry for entry in mine if entry["kind"] == "request"]
            found[:] = attempts + requests
            return bool(requests) and len(attempts) >= len(requests[0]["tried"] or ())

        self.until(are_there)
        return found

    def reopen_logs(self, way: str) -> None:
        """Has Envoy open its log files again, through its ``admin`` interface or by ``signal``."""
        assert self.process is not None
        if way == "signal":
            self.process.send_signal(signal.SIGUSR1)
        else:
            httpx.post(self.admin_url + "/reopen_logs", trust_env=False).raise_for_status()

    def log(self) -> str:
        file = self.folders.logs / "envoy.log"
        return file.read_text() if file.exists() else ""

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def _admin_text(self, path: str) -> str:
        try:
            return httpx.get(self.admin_url + path, trust_env=False).text
        except httpx.TransportError:
            return ""
