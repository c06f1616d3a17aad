"""Real Redis servers for tests: on ports that the kernel names, in folders of their own, ended with the test.

Nothing is mocked: what is promised about Redis is shown on Debian's ``redis-server``. Where that is missing, tests are
skipped, and say what to install.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

SECONDS = 20.0
_POLL_SECONDS = 0.02
_ATTEMPTS = 5


def require_redis() -> str:
    """Where ``redis-server`` is; the test is skipped where it is not."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is missing: install the Debian package redis-server (apt-get install redis-server)")
    return found


def free_port() -> int:
    """A port nobody listens on, whose cluster port (10000 more) is a port too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


def until(is_true: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Waits until ``is_true``; fails the test, naming ``what``, when it does not come true."""
    give_up = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {seconds} s for: {what}")
        time.sleep(_POLL_SECONDS)


@dataclass
class RedisServer:
    """One ``redis-server``. ``options`` are lines of its configuration, ``client_options`` what a client needs to connect."""

    folder: Path
    options: Sequence[str] = ()
    client_options: dict[str, object] = field(default_factory=dict)
    is_sentinel: bool = False
    is_encrypted: bool = False
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As it stands in ``router.yaml``."""
        return f"{'rediss' if self.is_encrypted else 'redis'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    def start(self) -> None:
        """Starts it, again on the port it had; waits until it answers."""
        binary = require_redis()
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if self.port else _ATTEMPTS):
            port = self.port or free_port()
            arguments = [binary, str(self._configuration(port)), *(["--sentinel"] if self.is_sentinel else [])]
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(arguments, stdout=output, stderr=output, cwd=self.folder)
            if self._answers(port):
                self.port = port
                return
            self.kill()
        raise AssertionError(f"redis-server does not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As the kernel would: nothing is written, nobody is told."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections and answers nobody."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """After ``pause``."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A plain client for looking into it."""
        with redis.Redis(host="127.0.0.1", port=self.port, decode_responses=True, **self.client_options) as client:  # type: ignore[arg-type]
            yield client

    def _configuration(self, port: int) -> Path:
        path = self.folder / "redis.conf"
        where = f"tls-port {port}\nport 0" if self.is_encrypted else f"port {port}"
        lines = [where, "bind 127.0.0.1", f"dir {self.folder}", *self.options]
        if not self.is_sentinel:
            lines += ['save ""', "appendonly no"] if not any(line.startswith("appendonly") for line in self.options) else []
        path.write_text("\n".join(lines) + "\n")
        return path

    def _answers(self, port: int) -> bool:
        assert self.process is not None
        give_up = time.monotonic() + SECONDS
        while time.monotonic() < give_up and self.process.poll() is None:
            with (
                contextlib.suppress(redis.ConnectionError, redis.TimeoutError),
                redis.Redis(host="127.0.0.1", port=port, **self.client_options) as client,  # type: ignore[arg-type]
            ):
                client.ping()
                return True
            time.sleep(_POLL_SECONDS)
        return False


@contextlib.contextmanager
def single_redis(folder: Path, options: Sequence[str] = ()) -> Iterator[RedisServer]:
    """One server without a password, which forgets everything when it ends."""
    server = RedisServer(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
