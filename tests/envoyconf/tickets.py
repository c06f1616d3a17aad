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
TURN_DOWN_HEADER = "x-test-turn-down"
"""A provider's header: the judge leg turns its answer down, and reports this JSON for the attempt."""

HOLD_HEADER = "x-test-hold"
"""A provider's header: the judge leg holds its answer and never lets go of it."""


def groups(*names: str) -> list[dict[str, Any]]:
    """Priority groups of one deployment each."""
    return [{"name": name, "clusters": [{"cluster_name": name, "weight": 1}]} for name in names]


def ticket(*names: str, metadata: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
    """The request header that asks for a ticket with this chain, and for other namespaces of metadata."""
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
    return {TICKET_HEADER: json.dumps({"router": content | more} | (metadata or {}))}


class TicketWorker(ExternalProcessorServicer):
    """Answers the route leg pipelined: everything is said once the whole request has come."""

    def __init__(self, socket: Path) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.seen: list[dict[str, str]] = []
        """The request headers of each route leg, oldest first."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=options)
        add_ExternalProcessorServicer_to_server(self, self._server)
        servicer = health.HealthServicer()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def Process(self, request_iterator: Iterator[ProcessingRequest], context: Any) -> Iterator[ProcessingResponse]:  # noqa: N802 - gRPC's own signature
        if dict(context.invocation_metadata()).get("leg") == "judge":
            for message in request_iterator:
                if HOLD_HEADER not in _headers_of(message):
                    yield _judgement(message)
            return
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
        if headers:
            self.seen.append(headers)
        yield _ticket_answer(headers)
        for _ in range(pieces):
            yield ProcessingResponse(request_body=BodyResponse())


def _ticket_answer(headers: dict[str, str]) -> ProcessingResponse:
    if TICKET_HEADER not in headers:
        return ProcessingResponse(request_headers=HeadersResponse())
    namespaces = json.loads(headers[TICKET_HEADER])
    content = namespaces["router"]
    metadata = Struct()
    metadata.update(namespaces)
    routing = {
        "x-envoy-max-retries": content["max_attempts"] - 1,
        "x-envoy-upstream-rq-timeout-ms": 0 if content["stream"] else content["deadline_ms"],
        "x-envoy-upstream-rq-per-try-timeout-ms": content["attempt_timeout_ms"],
    }
    mutation = _mutation(routing, remove=[TICKET_HEADER])
    return ProcessingResponse(
        dynamic_metadata=metadata,
        request_headers=HeadersResponse(response=CommonResponse(header_mutation=mutation, clear_route_cache=True)),
    )


def _judgement(message: ProcessingRequest) -> ProcessingResponse:
    kind = message.WhichOneof("request")
    if kind == "request_headers":
        return ProcessingResponse(request_headers=HeadersResponse())
    if kind == "response_body":
        return ProcessingResponse(response_body=BodyResponse())
    headers = _headers_of(message)
    if TURN_DOWN_HEADER not in headers:
        return ProcessingResponse(response_headers=HeadersResponse())
    metadata = Struct()
    metadata.update({"router.billed": json.loads(headers[TURN_DOWN_HEADER])})
    response = CommonResponse(header_mutation=_mutation({":status": 503, "x-router-cause": "empty_answer"}))
    return ProcessingResponse(dynamic_metadata=metadata, response_headers=HeadersResponse(response=response))


def _headers_of(message: ProcessingRequest) -> dict[str, str]:
    """Those of an answer; none in a message of something else."""
    return {each.key: each.raw_value.decode() for each in message.response_headers.headers.headers}


def _mutation(headers: dict[str, Any], remove: list[str] | None = None) -> HeaderMutation:
    return HeaderMutation(
        set_headers=[
            HeaderValueOption(
                header=HeaderValue(key=key, raw_value=str(value).encode()),
                append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
            )
            for key, value in headers.items()
        ],
        remove_headers=remove or [],
    )
