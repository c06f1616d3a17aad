"""What becomes of a request's body: the provider's model id, and where money or tokens are counted what admission decided."""

from __future__ import annotations

import msgspec

from router_extproc.decision import Attempt
from router_extproc.dialects.openai import is_multipart
from router_extproc.dialects.openai_edits import Edits, edit_request
from router_extproc.extproc.case import Admitted
from router_extproc.extproc.rename import rename_model
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request

# Providers that refuse a chat's ``max_tokens`` for some of their models; others may not know its newer name.
_KNOW_COMPLETION_TOKENS = ("openai", "azure")


class Outgoing(msgspec.Struct, frozen=True):
    """The body to send, None when the client's own is right. ``usage_injected``: its stream tells what it used unasked."""

    body: bytes | None = None
    usage_injected: bool = False


def outgoing_body(request: Request, body: bytes, first: Attempt, admitted: Admitted | None, registry: Registry) -> Outgoing:
    """The body for the first attempt; later ones only rename the model in it.

    Raises:
        BadRequestError: the body is not what its content type says.
    """
    headers = request.headers
    if not request.model:
        return Outgoing()
    renamed = first.provider_model if first.provider_model != request.model else None
    if admitted is None or is_multipart(headers.get("content-type", "")):
        return Outgoing(None if renamed is None else rename_model(headers, body, renamed))
    if renamed is None and admitted.max_output_tokens is None and admitted.system_line is None and not request.stream:
        return Outgoing()
    edits = Edits(
        model=renamed,
        max_output_tokens=admitted.max_output_tokens,
        prefers_completion_tokens=_provider(first, registry).startswith(_KNOW_COMPLETION_TOKENS),
        include_usage=request.stream,
        system_line=admitted.system_line,
    )
    edited = edit_request(request.path, body, edits)
    return Outgoing(None if edited.body is body else edited.body, edited.usage_injected)


def _provider(attempt: Attempt, registry: Registry) -> str:
    model = registry.models.get(attempt.model)
    deployments = () if model is None else model.deployments
    return next((deployment.provider for deployment in deployments if deployment.name == attempt.deployment), "")
