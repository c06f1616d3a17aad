"""The yardstick: an ext_proc servicer that only parses the body's JSON, in the same filter chain as the router."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import uvloop
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as service
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio


class Bare(service.ExternalProcessorServicer):
    """Takes headers and body as the router does, parses the body, changes nothing."""

    async def Process(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[messages.ProcessingRequest], _: grpc.aio.ServicerContext
    ) -> AsyncIterator[messages.ProcessingResponse]:
        """One exchange a request."""
        body = b""
        async for message in request_iterator:
            if message.WhichOneof("request") == "request_body":
                body += message.request_body.body
                if message.request_body.end_of_stream:
                    break
        json.loads(body)
        yield messages.ProcessingResponse(request_headers=messages.HeadersResponse())
        yield messages.ProcessingResponse(request_body=messages.BodyResponse())


async def serve(socket: str) -> None:
    """Serves until killed."""
    server = grpc.aio.server()
    service.add_ExternalProcessorServicer_to_server(Bare(), server)
    health = health_aio.HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args().socket))
