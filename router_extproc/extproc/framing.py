"""Puts a large body into protobuf messages without the copies that building the messages would make.

A message is its fields, each a tag, a length and the bytes (protobuf's encoding, wire type 2), so the frame around a body
is a few bytes that stand before it.
"""

from __future__ import annotations

from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeadersResponse,
    ProcessingResponse,
)
from google.protobuf.message import Message

_LENGTH_DELIMITED = 2


def frame(path: tuple[int, ...], size: int) -> bytes:
    """What stands before ``size`` bytes so that they are the field reached by ``path``, outermost number first."""
    before = b""
    for number in reversed(path):
        before = _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size + len(before)) + before
    return before


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(message: type[Message], field: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].number)


_MUTATED_BODY = (
    _number(CommonResponse, "body_mutation"),
    _number(BodyMutation, "body"),
)
# Where a new body stands in the answer to a request's headers, and in the answer to its body.
BODY_IN_HEADERS_ANSWER = (
    _number(ProcessingResponse, "request_headers"),
    _number(HeadersResponse, "response"),
    *_MUTATED_BODY,
)
BODY_IN_BODY_ANSWER = (
    _number(ProcessingResponse, "request_body"),
    _number(BodyResponse, "response"),
    *_MUTATED_BODY,
)
