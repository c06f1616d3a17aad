"""Envoy's side of a conversation with a leg, and a one-line rendering of what the leg said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct


def _headers(headers: Mapping[str, str], *, end: bool) -> HttpHeaders:
    values = [HeaderValue(key=key, raw_value=value.encode()) for key, value in headers.items()]
    return HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=end)


def request_headers(
    headers: Mapping[str, str], *, end: bool = False, ticket: Mapping[str, Any] | None = None, cluster: str = ""
) -> ProcessingRequest:
    message = ProcessingRequest(request_headers=_headers(headers, end=end))
    if ticket is not None:
        message.metadata_context.filter_metadata["router"].update(dict(ticket))
    attributes = Struct()
    attributes.update({"xds.cluster_name": cluster})
    message.attributes["envoy.filters.http.ext_proc"].CopyFrom(attributes)
    return message


def request_body(body: bytes, *, end: bool = True) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end))


def response_headers(headers: Mapping[str, str], *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_headers=_headers(headers, end=end))


def response_body(body: bytes, *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end))


def read(answer: bytes) -> ProcessingResponse:
    return ProcessingResponse.FromString(answer)


def said(answer: bytes) -> str:
    """``request_headers x-a=1``, ``response_body``, ``request_body[12]``, ``immediate 404`` and so on."""
    message = read(answer)
    kind = message.WhichOneof("response")
    if kind == "immediate_response":
        return f"immediate {message.immediate_response.status.code}"
    common = getattr(message, kind).response
    words = [kind]
    if common.HasField("body_mutation"):
        words[0] += f"[{len(common.body_mutation.body)}]"
    words += [f"{header.header.key}={header.header.raw_value.decode()}" for header in common.header_mutation.set_headers]
    words += [f"-{name}" for name in common.header_mutation.remove_headers]
    if common.clear_route_cache:
        words.append("clear_route_cache")
    if message.HasField("mode_override"):
        words.append("request_only")
    return " ".join(words)


def metadata(answer: bytes) -> dict[str, Any]:
    """The dynamic metadata that the answer sets."""
    found: dict[str, Any] = MessageToDict(read(answer).dynamic_metadata)
    return found
