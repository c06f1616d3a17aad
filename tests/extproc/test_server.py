"""One worker's server: real gRPC over its socket, and what must not end it."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from msgspec.structs import replace

from router_extproc.config.state import StateDirectory
from router_extproc.extproc.server import Worker
from router_extproc.registry.health import OPEN, DeploymentHealth, Health, encode_health
from router_extproc.registry.snapshot import encode_registry
from tests.extproc.conversation import request_body, request_headers
from tests.policy import registries as build

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


async def decision_of(worker: Worker, body: bytes) -> ProcessingResponse:
    """What the worker answers to a request with this body; only its server runs, none of its timers."""
    server = worker._server()
    await server.start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{worker._socket}", options=options) as channel:
        process = channel.stream_stream(
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )
        call = process(metadata=(("leg", "route"),))
        headers = {":method": "POST", ":path": "/v1/chat/completions", "content-length": str(len(body))}
        await call.write(request_headers(headers))
        await call.write(request_body(body, end=True))
        answer: ProcessingResponse = await call.read()
        await call.done_writing()
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
