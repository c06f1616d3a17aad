"""``POST /files``, ``GET /files`` and ``GET /files/{id}``: descriptions are kept, contents are not."""

from __future__ import annotations

import msgspec

from router_extproc.simulator.answers import PlainAnswer
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.error_bodies import Refusal
from router_extproc.simulator.openai.form import read_form, required_text
from router_extproc.simulator.openai.provider import Provider
from router_extproc.simulator.received import ReceivedRequest


def upload_file(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Accept an upload.

    Raises:
        Refusal: the form is malformed or lacks a field.
    """
    fields = read_form(received)
    purpose = required_text(fields, "purpose")
    required_text(fields, "file")
    file = {
        "id": provider.new_id("file-"),
        "object": "file",
        "bytes": len(fields["file"].content),
        "created_at": provider.now(),
        "filename": fields["file"].file_name or "upload",
        "purpose": purpose,
        "status": "processed",
    }
    provider.remember_file(file)
    return PlainAnswer(body=msgspec.json.encode(file))


def list_files(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Return all uploads, newest first."""
    files = list(reversed(provider.files.values()))
    ends = {"first_id": files[0]["id"] if files else None, "last_id": files[-1]["id"] if files else None}
    return PlainAnswer(body=msgspec.json.encode({"object": "list", "data": files, **ends, "has_more": False}))


def describe_file(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Return one upload's description.

    Raises:
        Refusal: 404 for an id that no upload has.
    """
    file_id = received.path.rpartition("/")[2]
    if (file := provider.files.get(file_id)) is None:
        raise Refusal(404, f"No such File object: {file_id}", param="id", code="not_found")
    return PlainAnswer(body=msgspec.json.encode(file))
