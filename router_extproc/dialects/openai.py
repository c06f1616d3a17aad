"""OpenAI's API, the canonical dialect: what a request's body says, and the bodies that the router itself answers with.

Reading is lenient: the provider, not the router, decides whether a request makes sense. What has an unusual shape is
skipped and the rest still read; only malformed JSON and a ``model`` that is no string are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from router_extproc.dialects.json_body import check_text, decode, splice_value
from router_extproc.dialects.multipart import is_multipart, read_field, read_fields, splice_field
from router_extproc.dialects.openai_models import model_names, write_model, write_models
from router_extproc.errors import BadRequestError, RequestError

__all__ = [
    "Envelope",
    "Head",
    "Message",
    "Part",
    "is_multipart",
    "model_names",
    "read_envelope",
    "read_head",
    "read_multipart_fields",
    "read_multipart_model",
    "splice_model",
    "splice_multipart_model",
    "write_error",
    "write_model",
    "write_models",
]


class Part(msgspec.Struct):
    """One part of a message. Payloads stay undecoded: a data URL of many megabytes is never copied."""

    type: str = ""
    text: str | None = None
    image_url: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    detail: str | None = None
    input_audio: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Message(msgspec.Struct):
    """One message of a chat, or one item of a response's input. ``output`` is what a tool answered, in such an item."""

    role: str | None = None
    type: str | None = None
    content: str | list[str | Part] | None = None
    tool_calls: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    output: str | list[str | Part] | None = None
    arguments: str | None = None


class ResponseFormat(msgspec.Struct):
    """The form asked of the answer; the Responses API keeps it in ``text.format``."""

    type: str | None = None


class TextOptions(msgspec.Struct):
    """The Responses API's ``text``."""

    format: ResponseFormat | None = None


class Head(msgspec.Struct):
    """The little that a route without analysis needs. A missing model is an empty string."""

    model: str = ""
    stream: bool | None = None


class Envelope(msgspec.Struct):
    """What a body says about itself; everything else in it stays unread. A missing model is an empty string.

    ``opaque`` holds the bytes of messages that have a shape of their own, for a rough estimate.
    """

    model: str = ""
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None
    messages: list[Message] | None = None
    input: str | list[str | Message] | None = None
    prompt: str | list[str] | None = None
    instructions: str | None = None
    tools: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    functions: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response_format: ResponseFormat | None = None
    text: TextOptions | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    modalities: list[str] | None = None
    opaque: tuple[msgspec.Raw, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def answer_limit(self) -> int | None:
        """The caller's own limit for one answer, in tokens, if it is a sensible number."""
        for limit in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if limit is not None and limit > 0:
                return limit
        return None


_head = msgspec.json.Decoder(Head)
_envelope = msgspec.json.Decoder(Envelope)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_message = msgspec.json.Decoder(Message)
_field_decoders = {
    field.name: msgspec.json.Decoder(field.type)
    for field in msgspec.structs.fields(Envelope)
    if field.name not in ("model", "opaque")
}


def read_head(body: bytes) -> Head:
    """Reads ``model`` and ``stream`` alone.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8, or ``model`` is not a string.
    """
    check_text(body)
    try:
        return decode(_head, body)
    except msgspec.ValidationError:
        members = _read_members(body)
        return Head(_read_model(members), _read_member(members, "stream"))


def read_envelope(body: bytes) -> Envelope:
    """Reads what routing needs to know.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8, or ``model`` is not a string.
    """
    check_text(body)
    try:
        envelope = decode(_envelope, body)
    except msgspec.ValidationError:
        return _read_member_by_member(body)
    envelope.opaque = msgspec.UNSET
    return envelope


def splice_model(body: bytes, model: str) -> bytes:
    """The same bytes with another top-level ``model``; unchanged when there is none.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    return splice_value(body, "model", model)


def read_multipart_model(content_type: str, body: bytes) -> str | None:
    """The ``model`` field of a form, None when it has none.

    Raises:
        BadRequestError: the body is not the form that its content type says.
    """
    return read_field(content_type, body, "model")


def read_multipart_fields(content_type: str, body: bytes, names: Collection[str]) -> dict[str, str]:
    """The fields of these names that the form has, in short.

    Raises:
        BadRequestError: the body is not the form that its content type says, or has one of them twice.
    """
    return read_fields(content_type, body, names)


def splice_multipart_model(content_type: str, body: bytes, model: str) -> bytes:
    """The same form with another ``model``; unchanged when it has none.

    Raises:
        BadRequestError: the body is not the form that its content type says.
    """
    return splice_field(content_type, body, "model", model)


def write_error(error: RequestError) -> bytes:
    """The body that OpenAI's clients turn into their own exceptions."""
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    )


def _read_member_by_member(body: bytes) -> Envelope:
    """The slow way, for bodies of an unusual shape: each member that can be read is read."""
    members = _read_members(body)
    envelope = Envelope(model=_read_model(members))
    for name in _field_decoders:
        setattr(envelope, name, _read_member(members, name))
    for name in ("messages", "input"):
        if name in members and getattr(envelope, name) is None:
            known, opaque = _read_messages(members[name])
            setattr(envelope, name, known or None)
            envelope.opaque = opaque
    return envelope


def _read_members(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return decode(_members, body)
    except msgspec.ValidationError:
        raise BadRequestError("The request body must be a JSON object.", code="invalid_json") from None


def _read_model(members: dict[str, msgspec.Raw]) -> str:
    model = members.get("model", b'""')
    try:
        return msgspec.json.decode(model, type=str)
    except msgspec.DecodeError:
        raise BadRequestError("The 'model' of the request must be a string.", param="model", code="invalid_type") from None


def _read_member(members: dict[str, msgspec.Raw], name: str) -> Any:
    try:
        return _field_decoders[name].decode(members[name])
    except (KeyError, msgspec.DecodeError):
        # Not there, or of a shape that only the provider may understand: the same as not there.
        return msgspec.UNSET if name in ("tools", "functions") else None


def _read_messages(value: msgspec.Raw) -> tuple[list[Message], tuple[msgspec.Raw, ...]]:
    known, opaque = [], []
    try:
        pieces = _pieces.decode(value)
    except msgspec.DecodeError:
        return [], (value,)
    for piece in pieces:
        try:
            known.append(_message.decode(piece))
        except msgspec.DecodeError:
            opaque.append(piece)
    return known, tuple(opaque)
