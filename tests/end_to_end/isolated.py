"""A network of its own for what uses the default ports or must not reach the outside: nothing is there but loopback."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.end_to_end.running import until

# Brings loopback up, says so, and stays for as long as its standard input is open.
_HOLD = """
import fcntl, socket, struct, sys
IFF_UP, SIOCSIFFLAGS = 1, 0x8914
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
print("ready", flush=True)
sys.stdin.read()
"""


class NotPermittedError(Exception):
    """This machine does not let us make a network namespace."""


class Loopback:
    """A network namespace. Commands that run in it see the default ports free, and no way out.

    Raises:
        NotPermittedError: there can be none.
    """

    def __init__(self) -> None:
        command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _HOLD]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._holder.stdout is not None
        select.select([self._holder.stdout], [], [], 20)
        if self._holder.stdout.readline() != b"ready\n":
            self.close()
            raise NotPermittedError

    def within(self, *command: str) -> list[str]:
        """The command line that runs ``command`` in here."""
        target = str(self._holder.pid)
        return ["nsenter", "--target", target, "--user", "--net", "--preserve-credentials", *command]

    def run(self, *command: str, folder: Path | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end."""
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        line = self.within(*command)
        return subprocess.run(line, cwd=folder, env=environment, text=True, capture_output=True, check=False, timeout=seconds)

    def close(self) -> None:
        for stream in (self._holder.stdin, self._holder.stdout):
            if stream is not None:
                stream.close()
        self._holder.wait(10)


class Command:
    """`router-extproc WORDS` in a folder of its own, in such a network, with only these variables in its environment."""

    def __init__(self, network: Loopback, folder: Path, *words: str, **environment: str) -> None:
        self.folder, self.output = folder, folder / "output.log"
        variables = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
        line = network.within(sys.executable, "-m", "router_extproc", *words)
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(line, cwd=folder, env=variables, stdout=log, stderr=log)

    def __enter__(self) -> Self:
        until(lambda: self.process.poll() is not None or "Try:" in self.printed, 40)
        assert self.process.poll() is None, self.printed
        until(lambda: self.printed.endswith("\n"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(30) == 0, self.printed
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8")
