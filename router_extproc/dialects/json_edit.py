"""JSON bodies as bytes: replace, add and take away top-level members, and leave every other byte as the client wrote it.

Rules of this file
- As in ``json_body``: what is not named is not touched, whatever it is.
- Values come as JSON text; whoever calls has encoded them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.dialects.json_body import check_text, decode, walk
from router_extproc.errors import BadRequestError

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

_BETWEEN = b" \t\r\n,"


def read_members(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members, values as they are written; of a repeated name the last.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    check_text(body)
    try:
        return decode(_members, body)
    except msgspec.ValidationError:
        raise BadRequestError("The request body must be a JSON object.", code="invalid_json") from None


def edit_members(body: bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """The same object with each member in ``changes`` set to that JSON text, or taken away where it is None.

    A name that occurs more than once is changed each time: readers differ in which one they believe. What is missing is
    added at the end.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    members = read_members(body)
    view = memoryview(body)
    end = body.index(b"{") + 1
    pieces: list[bytes | memoryview] = [view[:end]]
    is_first = True
    for member in walk(body, members):
        value: bytes | memoryview | None = view[member.start : member.end]
        if member.name in changes:
            value = changes[member.name]
        if value is not None:
            before = body[end : member.start]
            # What stood before the first that is left was a comma, unless it always was the first.
            pieces += (before.lstrip(_BETWEEN) if is_first and b"," in before[: before.find(b'"')] else before, value)
            is_first = False
        end = member.end
    for name, text in changes.items():
        if text is not None and name not in members:
            pieces += (b"" if is_first else b",", msgspec.json.encode(name), b":", text)
            is_first = False
    return b"".join((*pieces, view[end:]))


def append_item(array: bytes, item: bytes) -> bytes:
    """The JSON text of an array with one more item at its end.

    Raises:
        ValueError: the text is no array.
    """
    before = array.rstrip()
    if not before.startswith(b"[") or not before.endswith(b"]"):
        raise ValueError("not an array")
    inner = before[:-1].rstrip()
    return b"".join((inner, b"" if inner == b"[" else b",", item, b"]"))
