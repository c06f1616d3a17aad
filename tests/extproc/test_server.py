"""One worker's server: real gRPC over its socket, and what must not end it."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from msgspec.structs import replace

from router_extproc.config.state import StateDirectory
from router_extproc.extproc.server import Worker
from router_extproc.registry.health import OPEN, DeploymentHealth, Health, encode_health
from router_extproc.registry.snapshot import encode_registry
from tests.extproc.conversation import request_body, request_headers, response_body, response_headers, said
from tests.policy import registries as build
from tests.tied import tied

LIMIT = 1 << 20
SMALL = b'{"model":"small","messages":[]}'
LARGE = b'{"model":"small","messages":[{"role":"user","content":"' + b"a" * (6 * LIMIT) + b'"}]}'


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path)
    state.create()
    model = build.model("small", deployments=(build.deployment("p/small", "small", provider_model="small-2026"),))
    registry = replace(build.registry(model), max_body_bytes=LIMIT, max_body_bytes_in_flight=LIMIT)
    state.snapshot.write_bytes(encode_registry(registry))
    return state


@asynccontextmanager
async def conversation(socket: Path, leg: str) -> AsyncIterator[Any]:
    """One exchange with whoever listens there."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        process = channel.stream_stream(
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )
        call = process(metadata=(("leg", leg),), wait_for_ready=True)
        yield call
        await call.done_writing()


async def decision_of(worker: Worker, body: bytes) -> ProcessingResponse:
    """What the worker answers to a request with this body; only its server runs, none of its timers."""
    server = worker._server()
    await server.start()
    async with conversation(worker._socket, "route") as call:
        headers = {":method": "POST", ":path": "/v1/chat/completions", "content-length": str(len(body))}
        await call.write(request_headers(headers))
        await call.write(request_body(body, end=True))
        answer: ProcessingResponse = await call.read()
    await server.stop(None)
    return answer


async def test_envoy_alone_keeps_the_body_limit(state: StateDirectory) -> None:
    """A body that a reload has just allowed is decided by a worker that started with a lower limit."""
    worker = Worker(state, 0, 1.0)
    answer = await decision_of(worker, LARGE)
    replaced = answer.request_headers.response.body_mutation.body
    assert answer.dynamic_metadata.fields["router"].struct_value.fields["route"].string_value == "small"
    assert replaced == LARGE.replace(b'"small"', b'"small-2026"')
    assert worker._counters.decided == 1


async def test_who_stood_still_decides_by_what_is_true_now(state: StateDirectory) -> None:
    """A request that waited meanwhile may come before the timer that looks whether there are news."""
    worker = Worker(state, 0, 1.0)
    open_until = time.time() + 60
    state.health.write_bytes(
        encode_health(Health(deployments={"p/small": DeploymentHealth(state=OPEN, open_until=open_until)}))
    )
    worker._looked_at -= 60
    answer = await decision_of(worker, SMALL)
    decided = answer.dynamic_metadata.fields["router"].struct_value.fields
    assert decided["degraded"].string_value == "all-cooling-down"


@pytest.fixture
def process(state: StateDirectory) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own."""
    command = [sys.executable, "-m", "router_extproc.extproc", "--state", str(state.root), "--index", "0"]
    started = subprocess.Popen(tied(command), stderr=subprocess.DEVNULL)
    yield started
    started.kill()
    started.wait()


@pytest.mark.parametrize("says", [True, False], ids=["it said something", "it said nothing"])
async def test_no_provider_is_silent_because_the_worker_stood_still(
    state: StateDirectory, process: subprocess.Popen[bytes], *, says: bool
) -> None:
    """A first token that came in time is one, also where it is read late; who said nothing is turned down all the same."""
    async with conversation(state.worker_socket(0), "judge") as call:
        ticket = {"priority_groups": [{"name": "a"}, {"name": "b"}], "stream": True, "first_token_ms": 500}
        await call.write(request_headers({"x-envoy-attempt-count": "1"}, ticket=ticket, cluster="a"))
        await call.read()
        await call.write(response_headers({":status": "200", "content-type": "text/event-stream"}))
        # So that it waits for the token when it stands still; one that is not so far by then finds both, and shows nothing.
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        if says:
            await call.write(response_body(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'))
        await asyncio.sleep(0.7)
        process.send_signal(signal.SIGCONT)
        answer = await call.read()
    assert said(answer.SerializeToString()).startswith("response_headers :status=503") is not says


async def test_a_disk_that_takes_no_counters_ends_no_worker(state: StateDirectory, caplog: pytest.LogCaptureFixture) -> None:
    """Counters that cannot be written are reported once, and written again when the disk allows."""
    worker = Worker(state, 0, 1.0)
    obstacle = state.root / "counters"
    obstacle.write_text("a file where a directory should be")
    with caplog.at_level(logging.ERROR):
        writing = asyncio.create_task(worker._write_counters())
        await asyncio.sleep(0)
        assert not writing.done()
    assert [record.message for record in caplog.records] == ["counters cannot be written"]
    obstacle.unlink()
    writing.cancel()
    worker._counters.write(worker._counters_path)
    assert worker._counters_path.exists()
