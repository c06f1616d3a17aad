"""JSON bodies as bytes: read a few members, replace one value, and leave every other byte as the client wrote it.

Rules of this file
- Nothing is parsed and written again: unknown fields, key order, white space, number formats and escapes survive.
- Work is linear in the body, and the long stretches are walked by compiled code, never byte by byte.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple, TypeVar

import msgspec

from router_extproc.errors import BadRequestError

_T = TypeVar("_T")

_UTF8_PIECE = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Each is matched at a known position of JSON that is known to be well formed.
_KEY = re.compile(rb'[\s,{]*("(?:[^"\\]++|\\.)*+")\s*:\s*', re.DOTALL)
_AFTER_VALUE = re.compile(rb"\s*[,}]")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,}\]]+")
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)

# One escaped UTF-16 surrogate, after an even number of backslashes.
_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*\\u)[dD][89abcdefABCDEF][0-9a-fA-F]{2}")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_key = msgspec.json.Decoder(str)


class Member(NamedTuple):
    """One top-level member: its name and where its value starts and ends."""

    name: str
    start: int
    end: int


def check_text(body: bytes) -> None:
    """Makes sure that a body is UTF-8 without a byte order mark, as JSON on the wire must be (RFC 8259, section 8.1).

    Raises:
        BadRequestError: it is not.
    """
    if body.isascii():
        return
    if body.startswith(_BYTE_ORDER_MARK):
        raise BadRequestError("The request body starts with a byte order mark; send JSON as plain UTF-8.", code="invalid_json")
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        for start in range(0, len(body), _UTF8_PIECE):
            decoder.decode(view[start : start + _UTF8_PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise BadRequestError("The request body is not valid UTF-8.", code="invalid_json") from None


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Decodes text that ``check_text`` accepted.

    A surrogate without its partner is read as a replacement character: some clients write them when they cut a string
    in the middle of an emoji, and whether that is acceptable is the provider's decision.

    Raises:
        msgspec.ValidationError: the JSON is fine, its shape is not the decoder's.
        BadRequestError: it is not JSON; the message says where.
    """
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            mended = _SURROGATE.sub(rb"\1FFFD", body)
            if mended == body:
                raise
            return decoder.decode(mended)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise BadRequestError(f"The request body is not valid JSON: {_describe(error, body)}.", code="invalid_json") from None
    except RecursionError:
        raise BadRequestError("The request body is nested too deeply.", code="invalid_json") from None


def splice_value(body: bytes, name: str, value: str) -> bytes:
    """The same bytes, but with ``value`` as the top-level member ``name``; unchanged when there is no such member.

    A name that occurs more than once at the top level is replaced each time: readers differ in which one they believe.
    ``name`` must be made of lower-case letters.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    check_text(body)
    try:
        members = decode(_members, body)
    except msgspec.ValidationError:
        raise BadRequestError("The request body must be a JSON object.", code="invalid_json") from None
    if name not in members:
        return body
    written = msgspec.json.encode(value)
    literal = b'"%s"' % name.encode()
    # A letter may also be spelled \u006X. Without such spelling and with one occurrence, that one is the key.
    first = body.find(literal)
    if first >= 0 and body.find(literal, first + 1) < 0 and b"\\u006" not in body:
        found = _KEY.match(body, first)
        if found is not None:
            start = found.end()
            return b"".join((body[:start], written, body[start + len(memoryview(members[name])) :]))
    pieces: list[bytes] = []
    kept = 0
    for member in walk(body, members):
        if member.name == name:
            pieces += (body[kept : member.start], written)
            kept = member.end
    return b"".join((*pieces, body[kept:]))


def walk(body: bytes, members: dict[str, msgspec.Raw]) -> list[Member]:
    """All top-level members in the order written, duplicates included.

    ``members`` is what a decoder made of the same body. The value it holds for a name is usually the very bytes at hand,
    so that one comparison replaces a scan; where a duplicate name hides them, the value is scanned.
    """
    walked: list[Member] = []
    position = 0
    while (key := _KEY.match(body, position)) is not None:
        name = _name(key[1])
        start = key.end()
        value = members.get(name)
        end = start + len(memoryview(value)) if value is not None else start
        if value is None or not body.startswith(memoryview(value), start) or _AFTER_VALUE.match(body, end) is None:
            end = _end_of_value(body, start)
        walked.append(Member(name, start, end))
        position = end
    return walked


def _name(key: bytes) -> str:
    if b"\\" not in key:
        return key[1:-1].decode()
    return _key.decode(_SURROGATE.sub(rb"\1FFFD", key) if _SURROGATE.search(key) else key)


def _end_of_value(body: bytes, start: int) -> int:
    opening = body[start : start + 1]
    if opening not in (b"{", b"["):
        found = (_STRING if opening == b'"' else _SCALAR).match(body, start)
        return start if found is None else found.end()
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body, start):
        if token[0] in (b"{", b"["):
            depth += 1
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return len(body)


def _describe(error: msgspec.DecodeError, body: bytes) -> str:
    """What is wrong and where, without repeating any of the body."""
    text = str(error)
    if "truncated" in text:
        return "it is empty" if not body.strip() else f"it ends too early, at byte {len(body)}"
    return text.removeprefix("JSON is malformed: ")
