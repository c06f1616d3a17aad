"""The attempt leg that renames: the body that the route leg let out, with the model as this attempt's provider knows it.

A stream's wish for usage, where it is the router's own, is written for providers that understand it and taken out for others.
"""

from __future__ import annotations

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from router_extproc.dialects.openai_edits import ask_for_no_usage, ask_for_usage
from router_extproc.extproc.messages import (
    REQUEST_BODY_UNCHANGED,
    encode_request_body,
    encode_request_headers,
    headers_of,
    ticket_of,
)
from router_extproc.extproc.rename import rename_model


class RenameLeg:
    """The conversation about one attempt's request; it ends with the body."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._asks_for_usage: bool | None = None
        self._headers: dict[str, str] = {}

    @property
    def body_size(self) -> int:
        """Bytes of the body to come, 0 when unknown."""
        announced = self._headers.get("content-length", "")
        return int(announced) if announced.isdecimal() else 0

    def headers(self, message: ProcessingRequest) -> bytes:
        """Takes the header message and returns its answer."""
        self._headers = headers_of(message.request_headers)
        ticket = ticket_of(message)
        if ticket is not None:
            deployment = _attribute(message, "xds.cluster_name")
            models = ticket.fields["models"].struct_value.fields if "models" in ticket.fields else {}
            self._model = models[deployment].string_value if deployment in models else None
            wishes = ticket.fields["usage_wishes"].struct_value.fields if "usage_wishes" in ticket.fields else {}
            self._asks_for_usage = wishes[deployment].bool_value if deployment in wishes else None
        return encode_request_headers({})

    def body(self, message: ProcessingRequest) -> bytes:
        """Takes the whole body and returns its answer. Envoy asks for the right length with a changed body."""
        body = message.request_body.body
        changed = (rename_model(self._headers, body, self._model) if self._model is not None else None) or body
        if self._asks_for_usage is not None:
            changed = ask_for_usage(changed) if self._asks_for_usage else ask_for_no_usage(changed)
        if changed is body:
            return REQUEST_BODY_UNCHANGED
        return encode_request_body(changed, {"content-length": str(len(changed))})


def _attribute(message: ProcessingRequest, name: str) -> str:
    for attributes in message.attributes.values():
        if name in attributes.fields:
            return str(attributes.fields[name].string_value)
    return ""
