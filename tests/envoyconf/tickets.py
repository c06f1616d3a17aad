"""A worker that sets whatever ticket the test wrote into a request header: no decision, only Envoy's side of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy.service.ext_proc.v3.external_processor_pb2_grpc import (
    ExternalProcessorServicer,
    add_ExternalProcessorServicer_to_server,
)
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

TICKET_HEADER = "x-test-ticket"


def groups(*names: str) -> list[dict[str, Any]]:
    """Priority groups of one deployment each."""
    return [{"name": name, "clusters": [{"cluster_name": name, "weight": 1}]} for name in names]


def ticket(*names: str, **more: Any) -> dict[str, str]:
    """The request header that asks for a ticket with this chain."""
    content = {
        "route": "auto",
        "reason": "test",
        "leg": "never",
        "priority_groups": groups(*names),
        "deadline_ms": 10_000,
        "attempt_timeout_ms": 5_000,
        "retry_within_ms": 5_000,
        "max_attempts": 4,
        "stream": False,
    }
    return {TICKET_HEADER: json.dumps(content | more)}


class TicketWorker(ExternalProcessorServicer):
    """Answers the route leg pipelined: everything is said once the whole request has come."""

    def __init__(self, socket: Path) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(8), options=options)
        add_ExternalProcessorServicer_to_server(self, self._server)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def Process(self, request_iterator: Iterator[ProcessingRequest], context: Any) -> Iterator[ProcessingResponse]:  # noqa: ARG002, N802 - gRPC's own signature
        headers: dict[str, str] = {}
        pieces = 0
        for message in request_iterator:
            if message.HasField("request_headers"):
                headers = {each.key: each.raw_value.decode() for each in message.request_headers.headers.headers}
                if not message.request_headers.end_of_stream:
                    continue
            else:
                pieces += 1
                if not message.request_body.end_of_stream:
                    continue
            break
        yield _ticket_answer(headers)
        for _ in range(pieces):
            yield ProcessingResponse(request_body=BodyResponse())


def _ticket_answer(headers: dict[str, str]) -> ProcessingResponse:
    if TICKET_HEADER not in headers:
        return ProcessingResponse(request_headers=HeadersResponse())
    content = json.loads(headers[TICKET_HEADER])
    metadata = Struct()
    metadata.update({"router": content})
    routing = {
        "x-envoy-max-retries": content["max_attempts"] - 1,
        "x-envoy-upstream-rq-timeout-ms": 0 if content["stream"] else content["deadline_ms"],
        "x-envoy-upstream-rq-per-try-timeout-ms": content["attempt_timeout_ms"],
    }
    mutation = HeaderMutation(
        set_headers=[
            HeaderValueOption(
                header=HeaderValue(key=key, raw_value=str(value).encode()),
                append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
            )
            for key, value in routing.items()
        ],
        remove_headers=[TICKET_HEADER],
    )
    return ProcessingResponse(
        dynamic_metadata=metadata,
        request_headers=HeadersResponse(response=CommonResponse(header_mutation=mutation, clear_route_cache=True)),
    )
