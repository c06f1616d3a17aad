"""Reading ``multipart/form-data`` uploads (RFC 7578), as far as audio and files need it."""

from __future__ import annotations

import re

import msgspec

from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.received import ReceivedRequest

_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?\bboundary="?([^";,]{1,200})"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="?([^";\r\n]*)"?', re.IGNORECASE)
_FILE_NAME = re.compile(rb'[;\s]filename="?([^";\r\n]*)"?', re.IGNORECASE)


class FormField(msgspec.Struct, frozen=True):
    """One field; ``file_name`` is set where it is an upload."""

    content: bytes
    file_name: str | None


def read_form(request: ReceivedRequest) -> dict[str, FormField]:
    """Return the fields by name, the last where a name repeats.

    Raises:
        Refusal: 400 where the request is no form.
    """
    found = _BOUNDARY.match(request.content_type)
    if found is None:
        raise invalid("Could not parse multipart form")
    delimiter = b"--" + found[1].encode("latin-1")
    fields: dict[str, FormField] = {}
    for part in request.body.split(delimiter)[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if not separator or name is None:
            continue
        file_name = _FILE_NAME.search(head)
        fields[name[1].decode("utf-8", "replace")] = FormField(
            content.removesuffix(b"\r\n"), file_name[1].decode("utf-8", "replace") if file_name else None
        )
    return fields


def required_text(fields: dict[str, FormField], name: str) -> str:
    """Return a field's text.

    Raises:
        Refusal: 400 where it is missing.
    """
    field = fields.get(name)
    if field is None:
        raise invalid(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    return field.content.decode("utf-8", "replace")
