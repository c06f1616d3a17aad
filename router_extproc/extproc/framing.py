"""Puts a large body, or a few short texts, into protobuf messages without the work that building the messages would make.

A message is its fields, each a tag, a length and the bytes (protobuf's encoding, wire type 2), so the frame around a body
is a few bytes that stand before it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeadersResponse,
    ProcessingResponse,
)
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

_LENGTH_DELIMITED = 2
_SEVEN_BITS = 0x80
_ONE_BYTE = [bytes((value,)) for value in range(_SEVEN_BITS)]


def frame(path: tuple[int, ...], size: int) -> bytes:
    """What stands before ``size`` bytes so that they are the field reached by ``path``, outermost number first."""
    before = b""
    for number in reversed(path):
        before = _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size + len(before)) + before
    return before


def frame_texts(namespace: str, texts: Mapping[str, str]) -> bytes:
    """Texts by name, as the dynamic metadata of this namespace in an answer.

    Raises:
        UnicodeEncodeError: a text that UTF-8 cannot hold.
    """
    pieces: list[bytes] = []
    for name, text in texts.items():
        value = text.encode()
        named, before = _named(name), _before_text(len(value))
        pieces += (_FIELD, _varint(len(named) + len(before) + len(value)), named, before, value)
    struct = _field(_VALUE, _field(_STRUCT, b"".join(pieces)))
    return _field(_METADATA, _field(_FIELD, _named(namespace) + struct))


# There are few names, and always the same ones.
@functools.lru_cache(maxsize=256)
def _named(name: str) -> bytes:
    return _field(_KEY, name.encode())


@functools.lru_cache(maxsize=1_024)
def _before_text(size: int) -> bytes:
    """What stands before so many bytes of text as the value of a map's entry."""
    text = _STRING + _varint(size)
    return _VALUE + _varint(len(text) + size) + text


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < _SEVEN_BITS:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value >= _SEVEN_BITS:
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


def _tag(message: type[Message], field: str) -> bytes:
    return _varint(_number(message, field) << 3 | _LENGTH_DELIMITED)


_METADATA = _tag(ProcessingResponse, "dynamic_metadata")
_FIELD = _tag(Struct, "fields")
# The entries of every map are messages with these two (protobuf's encoding of maps).
_KEY, _VALUE = _varint(1 << 3 | _LENGTH_DELIMITED), _varint(2 << 3 | _LENGTH_DELIMITED)
_STRING, _STRUCT = _tag(Value, "string_value"), _tag(Value, "struct_value")
