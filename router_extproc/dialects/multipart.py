"""Multipart form bodies as bytes: find one short text field, replace its value, and leave every other byte alone.

Only part headers are read (RFC 7578); the files between them are skipped by searching for the boundary, so that binary
content costs nothing and can never be mistaken for a field.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from router_extproc.errors import BadRequestError

# A form of an LLM API has a handful of fields; whoever sends more is not searched further.
_MOST_PARTS = 256
_LONGEST_HEADERS = 8_192
_LONGEST_VALUE = 1_024

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"^content-disposition:\s*form-data\s*(;[^\r\n]*)$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(rb';\s*name=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_FILE_NAME = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


class Field(NamedTuple):
    """Where a field's value starts and ends in the body."""

    start: int
    end: int


def is_multipart(content_type: str) -> bool:
    """Whether a content type announces a form with parts."""
    return content_type[:19].lower() == "multipart/form-data"


def read_field(content_type: str, body: bytes, name: str) -> str | None:
    """The value of the first text field of that name, None when there is none.

    Raises:
        BadRequestError: the body is not the form that its content type says, or the value is no short text.
    """
    field = find_field(content_type, body, name)
    if field is None:
        return None
    try:
        return body[field.start : field.end].decode()
    except UnicodeDecodeError:
        raise BadRequestError(f"The form field '{name}' is not valid UTF-8.", param=name) from None


def splice_field(content_type: str, body: bytes, name: str, value: str) -> bytes:
    """The same bytes, but with ``value`` as the first text field of that name; unchanged when there is none.

    Raises:
        BadRequestError: as ``read_field``.
    """
    field = find_field(content_type, body, name)
    if field is None:
        return body
    return b"".join((body[: field.start], value.encode(), body[field.end :]))


def read_fields(content_type: str, body: bytes, names: Collection[str]) -> dict[str, str]:
    """The values of the text fields of these names, cut where they are no short texts.

    Raises:
        BadRequestError: the body is not the form that its content type says, or has one of the fields twice.
    """
    found: dict[str, str] = {}
    wanted = {name.encode(): name for name in names}
    for headers, start, end in _parts(content_type, body):
        name = wanted.get(_text_field(headers) or b"")
        if name is None:
            continue
        if name in found:
            raise _ambiguous(name)
        found[name] = body[start : min(end, start + _LONGEST_VALUE)].decode(errors="replace")
    return found


def find_field(content_type: str, body: bytes, name: str) -> Field | None:
    """Where the value of the text field of that name stands.

    Raises:
        BadRequestError: as ``read_field``; or the name occurs twice, and readers differ in which one they believe.
    """
    wanted = name.encode()
    field: Field | None = None
    for headers, start, end in _parts(content_type, body):
        if _text_field(headers) == wanted:
            if end - start > _LONGEST_VALUE:
                raise BadRequestError(f"The form field '{name}' is too long.", param=name)
            if field is not None:
                raise _ambiguous(name)
            field = Field(start, end)
    return field


def _parts(content_type: str, body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The headers of each part, and where its value starts and ends."""
    boundaries = _BOUNDARY.findall(content_type)
    if len(boundaries) != 1:
        raise BadRequestError("The content type of a multipart body must name its boundary, once.", code="invalid_multipart")
    delimiter = b"--" + (boundaries[0][0] or boundaries[0][1]).encode("latin-1", "replace")
    position = 0 if body.startswith(delimiter) else _after(body, b"\r\n" + delimiter, 0) - len(delimiter)
    if position < 0:
        raise BadRequestError("The multipart body does not contain its boundary.", code="invalid_multipart")
    for _ in range(_MOST_PARTS):
        start = position + len(delimiter)
        if body.startswith(b"--", start):
            return
        headers_end = body.find(b"\r\n\r\n", start, start + _LONGEST_HEADERS)
        value_start = headers_end + 4
        value_end = body.find(b"\r\n" + delimiter, value_start)
        if headers_end < 0 or value_end < 0:
            raise BadRequestError("The multipart body ends too early.", code="invalid_multipart")
        yield body[start:headers_end], value_start, value_end
        position = value_end + 2
    raise BadRequestError(f"The form has more than {_MOST_PARTS} parts.", code="invalid_multipart")


def _ambiguous(name: str) -> BadRequestError:
    return BadRequestError(f"The form has more than one field '{name}'.", param=name, code="ambiguous_member")


def _after(body: bytes, needle: bytes, start: int) -> int:
    found = body.find(needle, start)
    return -1 if found < 0 else found + len(needle)


def _text_field(headers: bytes) -> bytes | None:
    """The name of a part that is no file."""
    disposition = _DISPOSITION.search(headers.replace(b"\r\n", b"\n"))
    if disposition is None or _FILE_NAME.search(disposition[1]):
        return None
    found = _NAME.search(disposition[1])
    return None if found is None else found[1] if found[1] is not None else found[2]
