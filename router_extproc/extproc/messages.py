"""Envoy's ext_proc messages, read and written with as little work as the hot path allows.

Answers are bytes. Protobuf merges messages whose encodings are concatenated, so what is equal for many requests is
encoded once and what differs is appended (a map entry of the same key would replace, hence two metadata namespaces).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HttpHeaders,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from router_extproc.extproc.framing import BODY_IN_BODY_ANSWER, BODY_IN_HEADERS_ANSWER, frame

TICKET_NAMESPACE = "router"
REQUEST_NAMESPACE = "router.request"
CALLER_NAMESPACE = "router.caller"
BILLED_NAMESPACE = "router.billed"

_OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def headers_of(message: HttpHeaders) -> dict[str, str]:
    """The header map with lower-case names; of a repeated header the last value stands."""
    return {
        header.key: (header.raw_value.decode("utf-8", "replace") if header.raw_value else header.value)
        for header in message.headers.headers
    }


def header_mutation(headers: Mapping[str, str], remove: Iterable[str] = ()) -> HeaderMutation:
    """Sets each header, replacing what was there, and removes the others named."""
    return HeaderMutation(
        set_headers=[
            HeaderValueOption(header=HeaderValue(key=key, raw_value=value.encode()), append_action=_OVERWRITE)
            for key, value in headers.items()
        ],
        remove_headers=list(remove),
    )


def encode_metadata(namespace: str, values: Mapping[str, Any]) -> bytes:
    """Dynamic metadata as the part of an answer that may be concatenated with any other."""
    metadata = Struct()
    metadata.update({namespace: dict(values)})
    return bytes(ProcessingResponse(dynamic_metadata=metadata).SerializeToString())


def encode_request_headers(headers: Mapping[str, str], *, clear_route_cache: bool = False) -> bytes:
    """The answer to a request's headers."""
    answer = ProcessingResponse(
        request_headers=HeadersResponse(
            response=CommonResponse(header_mutation=header_mutation(headers), clear_route_cache=clear_route_cache)
        )
    )
    return bytes(answer.SerializeToString())


def with_replaced_body(answer: bytes, body: bytes) -> bytes:
    """The answer to a request's headers, with all of its body replaced; no other answer follows.

    In one message with the ticket, because a worker may die between two.
    """
    return b"".join((answer, _CONTINUE_AND_REPLACE, frame(BODY_IN_HEADERS_ANSWER, len(body)), body))


def encode_request_body(body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The answer to a piece of a request's body: unchanged when ``body`` is None, else replaced (empty bytes drop it)."""
    if body is None:
        return REQUEST_BODY_UNCHANGED
    response = CommonResponse(header_mutation=header_mutation(headers or {}))
    answer = bytes(ProcessingResponse(request_body=BodyResponse(response=response)).SerializeToString())
    return b"".join((answer, frame(BODY_IN_BODY_ANSWER, len(body)), body))


def encode_response_headers(
    headers: Mapping[str, str] | None = None, remove: Collection[str] = (), body: bytes | None = None
) -> bytes:
    """The answer to a response's headers. A response that has no body gets ``body``, when there is one."""
    if not headers and not remove:
        return RESPONSE_HEADERS_UNCHANGED
    response = CommonResponse(header_mutation=header_mutation(headers or {}, remove))
    if body is not None:
        response.status = CommonResponse.CONTINUE_AND_REPLACE
        response.body_mutation.body = body
    return bytes(ProcessingResponse(response_headers=HeadersResponse(response=response)).SerializeToString())


def encode_response_body(body: bytes | None = None) -> bytes:
    """The answer to a piece of a response's body: unchanged when ``body`` is None, else replaced."""
    if body is None:
        return RESPONSE_BODY_UNCHANGED
    response = CommonResponse(body_mutation=BodyMutation(body=body))
    return bytes(ProcessingResponse(response_body=BodyResponse(response=response)).SerializeToString())


def encode_immediate(status: int, body: bytes, headers: Mapping[str, str], details: str) -> bytes:
    """An answer to the client in place of a provider's."""
    return bytes(
        ProcessingResponse(
            immediate_response=ImmediateResponse(
                status=HttpStatus(code=status),
                body=body,
                headers=header_mutation({"content-type": "application/json", **headers}),
                details=details,
            )
        ).SerializeToString()
    )


def ticket_of(message: ProcessingRequest) -> Struct | None:
    """The ticket that the route leg set, as it is now, or None when no worker decided."""
    metadata = message.metadata_context.filter_metadata
    # Reading a missing key of a protobuf map would create it.
    return metadata[TICKET_NAMESPACE] if TICKET_NAMESPACE in metadata else None  # noqa: SIM401


_CONTINUE_AND_REPLACE = bytes(
    ProcessingResponse(
        request_headers=HeadersResponse(response=CommonResponse(status=CommonResponse.CONTINUE_AND_REPLACE))
    ).SerializeToString()
)
# Asks Envoy to wait this long for the answer to the message it sent last: a body may have to wait for others. In seconds;
# no more than ``max_message_timeout`` of Envoy's filter, or it is ignored.
MORE_TIME_SECONDS = 120
MORE_TIME = bytes(ProcessingResponse(override_message_timeout=Duration(seconds=MORE_TIME_SECONDS)).SerializeToString())

REQUEST_BODY_UNCHANGED = bytes(ProcessingResponse(request_body=BodyResponse()).SerializeToString())
RESPONSE_HEADERS_UNCHANGED = bytes(ProcessingResponse(response_headers=HeadersResponse()).SerializeToString())
RESPONSE_BODY_UNCHANGED = bytes(ProcessingResponse(response_body=BodyResponse()).SerializeToString())
