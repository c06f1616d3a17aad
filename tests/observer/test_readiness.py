"""An instance is ready once it has a snapshot and one worker that says it serves."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from router_extproc.observer.readiness import reasons_not_ready


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ready-") as name:
        yield Path(name)


@asynccontextmanager
async def worker(folder: Path, status: int) -> AsyncIterator[None]:
    """A worker's health service behind its symlink."""
    server, health = grpc.aio.server(), health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{folder / 'worker-0.123.sock'}")
    await server.start()
    await health.set("", status)
    (folder / "worker-0.sock").symlink_to("worker-0.123.sock")
    yield
    await server.stop(None)


async def test_a_serving_worker_and_a_snapshot_are_enough(folder: Path) -> None:
    """A second worker that is dead does not matter."""
    (folder / "snapshot.json").touch()
    (folder / "worker-1.sock").symlink_to("worker-1.7.sock")
    async with worker(folder, health_pb2.HealthCheckResponse.SERVING):
        assert await reasons_not_ready(folder / "snapshot.json", folder) == []


async def test_a_draining_worker_is_not_enough(folder: Path) -> None:
    """It answers, but takes no more work."""
    async with worker(folder, health_pb2.HealthCheckResponse.NOT_SERVING):
        reasons = await reasons_not_ready(folder / "snapshot.json", folder)
    assert reasons == ["no snapshot: router.yaml has not been read yet", "no worker is serving (1 known)"]


async def test_nothing_started_yet(folder: Path) -> None:
    """Every reason is told."""
    assert len(await reasons_not_ready(folder / "snapshot.json", folder / "sockets")) == 2
