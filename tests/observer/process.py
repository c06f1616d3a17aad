"""A real observer process and a real Envoy-like client of it: a gRPC stream for each log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from router_extproc.observer.options import Cooling, ObserverOptions, encode_options
from router_extproc.registry.snapshot import encode_registry
from tests.json_lines import whole_lines
from tests.kept_ports import KeptPort
from tests.observer.entries import REGISTRY
from tests.tied import tied

T = TypeVar("T")

PATIENCE_SECONDS = 20.0


class ObserverProcess:
    """The observer over ``state``; ``start`` returns once it says that it is ready."""

    def __init__(self, state: Path, *, cooling: Cooling | None = None, snapshot: bool = True) -> None:
        self.state = state
        self._kept_port = KeptPort()
        self.port = self._kept_port.number
        (state / "sockets").mkdir(parents=True, exist_ok=True)
        options = ObserverOptions(admin_port=self.port, cooling=cooling or Cooling())
        (state / "observer.json").write_bytes(encode_options(options))
        if snapshot:
            (state / "snapshot.json").write_bytes(encode_registry(REGISTRY))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the process and waits for its word."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "router_extproc.observer", "--state", str(self.state), "--ready-fd", str(writing)]
        with (self.state / "observer.log").open("ab") as log:
            self.process = subprocess.Popen(tied(command), pass_fds=(writing,), stderr=log)
        os.close(writing)
        with os.fdopen(reading, "rb") as words:
            assert words.readline() == b"ready\n", (self.state / "observer.log").read_text()
        return self.process

    def kill(self) -> None:
        """Ends the process the hard way, if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @contextlib.asynccontextmanager
    async def logs(self) -> AsyncIterator[Callable[..., Any]]:
        """A function that sends entries to the log it is given, over one stream for each log as Envoy does."""
        address = f"unix:{self.state / 'sockets' / 'observer.sock'}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub = als_pb2_grpc.AccessLogServiceStub(channel)
            streams: dict[str, Any] = {}

            async def send(log: str, *entries: HTTPAccessLogEntry) -> None:
                message = als_pb2.StreamAccessLogsMessage()
                if log not in streams:
                    streams[log] = stub.StreamAccessLogs()
                    message.identifier.log_name = log
                message.http_logs.log_entry.extend(entries)
                await streams[log].write(message)

            yield send
            for stream in streams.values():
                stream.cancel()

    async def get(self, path: str) -> httpx.Response:
        """Asks the admin API."""
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    def records(self) -> list[dict[str, Any]]:
        """The decision log as it is now."""
        return whole_lines(self.state / "logs" / "decisions.jsonl")

    def health(self) -> dict[str, Any]:
        """The deployments of health.json."""
        return dict(json.loads((self.state / "health.json").read_text())["deployments"])


async def eventually(look: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """The first truthy value of ``look``; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)
    return value
