"""An instance is ready once it has a snapshot and one worker that says it serves, until it is told to stop."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from router_extproc.config.state import StateDirectory
from router_extproc.observer.readiness import reasons_not_ready


@pytest.fixture
def state() -> Iterator[StateDirectory]:
    with tempfile.TemporaryDirectory(prefix="ready-") as name:
        state = StateDirectory(Path(name))
        state.create()
        yield state


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


async def test_a_serving_worker_and_a_snapshot_are_enough(state: StateDirectory) -> None:
    """A second worker that is dead does not matter."""
    state.snapshot.touch()
    state.worker_socket(1).symlink_to("worker-1.7.sock")
    async with worker(state.sockets, health_pb2.HealthCheckResponse.SERVING):
        assert await reasons_not_ready(state) == []


async def test_a_draining_worker_is_not_enough(state: StateDirectory) -> None:
    """It answers, but takes no more work."""
    async with worker(state.sockets, health_pb2.HealthCheckResponse.NOT_SERVING):
        reasons = await reasons_not_ready(state)
    assert reasons == ["no snapshot: router.yaml has not been read yet", "no worker is serving (1 known)"]


async def test_an_instance_about_to_stop_wants_no_more_requests(state: StateDirectory) -> None:
    """It serves whom it must; who can go elsewhere is told to."""
    state.snapshot.touch()
    state.stopping.touch()
    async with worker(state.sockets, health_pb2.HealthCheckResponse.SERVING):
        assert await reasons_not_ready(state) == ["the instance is stopping"]


async def test_nothing_started_yet(tmp_path: Path) -> None:
    """Every reason is told."""
    assert len(await reasons_not_ready(StateDirectory(tmp_path / "nothing"))) == 2
