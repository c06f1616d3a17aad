"""Starts what the end-to-end tests talk to: simulated providers and whole instances, real processes all of them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import signal
import socket
import socketserver
import string
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai

from router_extproc.analysis.location import ENVIRONMENT_VARIABLE
from router_extproc.config.state import StateDirectory
from tests.json_lines import whole_lines
from tests.kept_ports import KeptPort
from tests.tied import tied

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
_CONTROL = "control"
_Server = TypeVar("_Server", bound=socketserver.BaseServer)


def until(what: Callable[[], Any], seconds: float = 30.0, step: float = 0.05) -> Any:
    """Waits for the first true answer and returns it; fails loudly when there is none in time.

    Who asks where time is no promise is patient: a machine may stand still for seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {what}, last answer {found!r}")
        time.sleep(step)


def until_everywhere(condition: Callable[[], object]) -> None:
    """Waits until every worker says so: each learns of a change by itself, and so many answers in a row come from all."""
    until(lambda: all(condition() for _ in range(20)))


@contextlib.contextmanager
def at_work(server: _Server) -> Iterator[_Server]:
    """A server of the standard library, serving in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Simulators:
    """Simulated providers in one process, each on its own port; faults can be changed while they run."""

    def __init__(self, folder: Path, deployments: dict[str, dict[str, Any]], **options: Any) -> None:
        file = folder / "simulators.json"
        # One more, through which the others are reached even when a fault has closed their port.
        named = [{"name": name, **settings} for name, settings in (deployments | {_CONTROL: {}}).items()]
        config = {"deployments": named, **options}
        file.write_text(json.dumps(config), encoding="utf-8")
        command = tied([sys.executable, "-m", "router_extproc.simulator", "--config", str(file)])
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        try:
            assert select.select([self.process.stdout], [], [], 20)[0], "the simulators did not start"
            self.ports: dict[str, int] = json.loads(self.process.stdout.readline())["ready"]
        except BaseException:
            self._end_process()
            raise
        self._control = f"http://127.0.0.1:{self.ports.pop(_CONTROL)}/_simulator"
        self._http = httpx.Client(trust_env=False)

    def fill(self, configuration: str) -> str:
        """The configuration with each ``$NAME`` replaced by that deployment's address."""
        return string.Template(configuration).substitute({name: self.url(name) for name in self.ports})

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def faults(self, name: str, *script: dict[str, Any], **faults: Any) -> None:
        """Replaces the faults of one deployment, by one set or by several in order; none heals it."""
        content = list(script) or faults
        self._http.put(f"{self._control}/faults", params={"deployment": name}, json=content).raise_for_status()

    def heal(self) -> None:
        for name in self.ports:
            self.faults(name)
            self._http.delete(f"{self._control}/requests", params={"deployment": name}).raise_for_status()

    def requests(self, name: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = self._http.get(f"{self._control}/requests", params={"deployment": name}).json()
        return answer

    def bodies(self, name: str) -> list[dict[str, Any]]:
        """What it was asked, oldest first."""
        return [json.loads(base64.b64decode(request["body_base64"])) for request in self.requests(name)]

    def stats(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(f"{self._control}/stats", params={"deployment": name}).json()
        return answer

    def own_answer(self, name: str) -> dict[str, Any]:
        """What a deployment answers to whoever asks it directly."""
        answer: dict[str, Any] = self._http.post(f"{self.url(name)}{CHAT}", json={"model": "any", "messages": HELLO}).json()
        return answer

    def asked(self) -> dict[str, int]:
        """How many requests came to each deployment that had any."""
        counts = {name: self.stats(name)["requests"] for name in self.ports}
        return {name: count for name, count in counts.items() if count}

    def close(self) -> None:
        """The same, for ``contextlib.closing``."""
        self.stop()

    def stop(self) -> None:
        self._http.close()
        self._end_process()

    def _end_process(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()


@dataclass
class Instance:
    """One `router-extproc up`: Envoy, workers and observer."""

    folder: Path
    configuration: str
    environment: dict[str, str] = field(default_factory=dict)
    scheme: str = "http"
    own_group: bool = False

    def __post_init__(self) -> None:
        self._kept_ports = [KeptPort() for _ in range(3)]
        self.port, self.admin_port, self.envoy_port = (kept.number for kept in self._kept_ports)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / "router.yaml"
        self.state = self.folder / ".router-extproc"
        self.write(self.configuration)
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.envoy_url = f"http://127.0.0.1:{self.envoy_port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.admin = httpx.Client(trust_env=False, timeout=10)

    def complete(self, configuration: str) -> str:
        """The file's text: with this instance's ports in place of `LISTENER`, `ADMIN` and `ENVOY`."""
        text = configuration
        if "listener:" not in text:
            text = f"listener: {{port: LISTENER}}\nadmin: {{port: ADMIN}}\nenvoy: {{admin_port: ENVOY, concurrency: 2}}\n{text}"
        for name, port in {"LISTENER": self.port, "ADMIN": self.admin_port, "ENVOY": self.envoy_port}.items():
            text = text.replace(name, str(port))
        return text

    def write(self, configuration: str) -> None:
        """Puts a configuration in place as editors do it: whole, by rename."""
        self.configuration = configuration
        temporary = self.file.with_suffix(".new")
        temporary.write_text(self.complete(configuration), encoding="utf-8")
        temporary.replace(self.file)

    def start(self, command: str = "up") -> Instance:
        # Nothing else of the environment: a key in it would change what runs. An artefact may be tested before it is shipped.
        passed_on = {name: os.environ[name] for name in ("PATH", "HOME", ENVIRONMENT_VARIABLE) if name in os.environ}
        environment = {"HOME": "/", **passed_on, **self.environment}
        log = (self.folder / "up.log").open("ab")
        said_before = log.tell()
        self.process = subprocess.Popen(
            tied([sys.executable, "-m", "router_extproc", command, "--config", str(self.file)]),
            cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=self.own_group,
        )  # fmt: skip
        log.close()
        try:
            until(lambda: self.process.poll() is not None or b"Try:" in (self.folder / "up.log").read_bytes()[said_before:], 40)
            assert self.process.poll() is None, self.logs()
        except AssertionError:
            raise AssertionError(self.logs()) from None
        return self

    def logs(self) -> str:
        files = [self.folder / "up.log", *sorted((self.state / "logs").glob("*.log"))]
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-4000:]}" for file in files if file.exists())

    def stop(self, seconds: float = 30) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.admin.close()

    def pids(self, role: str) -> list[int]:
        """The instance's processes whose command line begins with ``router-extproc-ROLE`` (or is ``envoy``)."""
        found = []
        for pid in self.children():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except FileNotFoundError:  # it ended this moment
                continue
            name = words.replace("\0", " ").split(" ", 1)[0]
            if name.startswith(f"router-extproc-{role}") or (role == "envoy" and name.endswith("/envoy")):
                found.append(pid)
        return found

    def children(self) -> list[int]:
        """All of the instance's processes, also those that have just been started and do not show their role yet."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def serving_workers(self) -> int:
        """Workers that listen, if Envoy would ask them all; else 0."""
        alive = set(self.pids("worker"))
        listening = sum(int(link.readlink().name.split(".")[1]) in alive for link in self.worker_links())
        asked = self.envoy_figures("^cluster.extproc.membership_healthy$").get("cluster.extproc.membership_healthy", 0)
        return listening if asked >= listening else 0

    def kill_worker(self, place: int) -> None:
        """``kill -9`` of one of the workers, under load; returns once every thread of Envoy that asked it asks its successor.

        They hear of that one after the other: who killed another worker earlier would kill the last one that some know.
        """
        pids = self.pids("worker")
        pid = pids[place]
        [socket_name] = [link.name for link in self.worker_links() if link.readlink().name.split(".")[1] == str(pid)]
        before = self._worker_connections()[socket_name]
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in self.pids("worker") and self.serving_workers() == len(pids))
        until(lambda: self._worker_connections()[socket_name]["cx_total"] >= before["cx_total"] + before["cx_active"])

    def _worker_connections(self) -> dict[str, Counter[str]]:
        """How many connections of Envoy's threads there were and are to each worker, by the name of its socket."""
        clusters = self.admin.get(f"{self.envoy_url}/clusters?format=json").json()["cluster_statuses"]
        [hosts] = [cluster["host_statuses"] for cluster in clusters if cluster["name"] == "extproc"]
        found = {}
        for host in hosts:
            # A figure that is 0 is left out.
            figures = {one["name"]: int(one.get("value", 0)) for one in host["stats"]}
            found[Path(host["address"]["pipe"]["path"]).name] = Counter(figures)
        return found

    def worker_links(self) -> list[Path]:
        """Where Envoy finds the workers: links to the sockets of those that serve now."""
        return list(StateDirectory(self.state).sockets.glob("worker-?.sock"))

    @contextlib.contextmanager
    def foreign_envoy(self) -> Iterator[None]:
        """An Envoy that no supervisor runs, with the files that `serve` wrote."""
        envoy = Path(sys.executable).parent / "envoy"
        command = [envoy, "-c", self.state / "envoy" / "bootstrap.json", "--disable-hot-restart", "--concurrency", "2"]
        log = (self.folder / "envoy.log").open("ab")
        process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        try:
            until(self.accepts_connections)
            yield
        finally:
            process.terminate()
            process.wait(10)

    def is_ready(self) -> bool:
        """What the observer's ``/readyz`` says; False also when nobody answers."""
        try:
            return self.admin.get(f"{self.admin_url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def accepts_connections(self) -> bool:
        """Whether somebody listens where clients connect."""
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, **options: Any) -> openai.OpenAI:
        """The official SDK, without its own retries so that every failure shows."""
        settings = {"base_url": f"{self.url}/v1", "api_key": "client-secret-canary", "max_retries": 0, "timeout": 30, **options}
        return openai.OpenAI(**settings)

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def ask(self, model: str = "auto", *, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        """One chat completion, raw."""
        with self.http() as http:
            return http.post(CHAT, json={"model": model, "messages": HELLO, **body}, headers=headers)

    def envoy_figures(self, pattern: str) -> dict[str, int]:
        answer = self.admin.get(f"{self.envoy_url}/stats?format=json&filter={pattern}").json()
        return {row["name"]: row["value"] for row in answer["stats"] if "name" in row}

    def written_files(self) -> dict[str, bytes]:
        """All files below its folder, by their path in there, as they are now: some come and go while one looks."""
        found = {}
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    found[str(path.relative_to(self.folder))] = path.read_bytes()
        return found

    @contextlib.contextmanager
    def begun(self, model: str, headers: dict[str, str] | None = None, **body: Any) -> Iterator[httpx.Response]:
        """A stream that has begun; it is under way until it is left."""
        content = {"model": model, "messages": HELLO, "stream": True} | body
        with self.http(headers=headers or {}) as http, http.stream("POST", CHAT, json=content) as answer:
            yield answer

    def leave(
        self, body: dict[str, Any], when: Callable[[], Any], *, path: str = CHAT, headers: dict[str, str] | None = None
    ) -> None:
        """A client that sends a request and is gone without an answer once ``when`` is true; a stream's headers it awaits."""
        content = json.dumps(body).encode()
        lines = {"host": "router", "content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
        head = "".join((f"POST {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"))
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode() + content)
            if body.get("stream"):
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
            until(when)

    def health(self, deployment: str) -> str:
        """What the deciders are told about a deployment: ``closed``, ``open`` or ``half_open``."""
        file = self.state / "health.json"
        deployments = json.loads(file.read_bytes())["deployments"] if file.exists() else {}
        return str(deployments[deployment]["state"]) if deployment in deployments else "closed"

    def decisions(self) -> list[dict[str, Any]]:
        """The decision log, oldest first."""
        return whole_lines(StateDirectory(self.state).decision_log)

    def decision(self, identity: str) -> dict[str, Any]:
        """The record of one request, once it was written."""
        found: dict[str, Any] = until(lambda: next((record for record in self.decisions() if record["id"] == identity), None))
        return found

    def access_lines(self) -> list[dict[str, Any]]:
        """Envoy's own log, oldest first: a line for each request, and one for each attempt."""
        return whole_lines(StateDirectory(self.state).access_log)

    def access_line(self, identity: str) -> dict[str, Any]:
        """The line of one request in Envoy's own log, once it was written."""

        def found() -> dict[str, Any] | None:
            requests = (line for line in self.access_lines() if line["kind"] == "request")
            return next((line for line in requests if line["decision"] == identity), None)

        line: dict[str, Any] = until(found)
        return line


@contextlib.contextmanager
def running(instance: Instance) -> Iterator[Instance]:
    """An instance for the time of a block."""
    try:
        yield instance.start()
    finally:
        instance.stop()
