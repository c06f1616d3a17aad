"""Puts the provider's own model id into a request's body, whatever kind of body it is, and touches nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.dialects import openai


def rename_model(headers: Mapping[str, str], body: bytes, model: str) -> bytes | None:
    """The body with the model renamed, or None when it already is as it should be or names no model.

    Raises:
        BadRequestError: the body is not what its content type says.
    """
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        if openai.read_multipart_model(content_type, body) in (None, model):
            return None
        return openai.splice_multipart_model(content_type, body, model)
    changed = openai.splice_model(body, model)
    return None if changed == body else changed
