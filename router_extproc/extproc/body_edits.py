"""What becomes of a request's body: the provider's model id, and where money or tokens are counted what admission decided."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.decision import Attempt, Decision
from router_extproc.dialects.openai import is_multipart
from router_extproc.dialects.openai_edits import Edits, edit_request, is_silent
from router_extproc.extproc.case import Admitted
from router_extproc.extproc.rename import rename_model
from router_extproc.registry.snapshot import Registry
from router_extproc.request import Request

# Providers that refuse a chat's ``max_tokens`` for some of their models; others may not know its newer name.
_KNOW_COMPLETION_TOKENS = ("openai", "azure")


class Outgoing(msgspec.Struct, frozen=True):
    """The body to send, None when the client's own is right. ``usage_injected``: its stream tells what it used unasked.

    ``usage_wishes`` says by deployment whether its provider is to be asked for that, where not all of a chain are.
    """

    body: bytes | None = None
    usage_injected: bool = False
    usage_wishes: Mapping[str, bool] = {}


def outgoing_body(request: Request, body: bytes, decision: Decision, admitted: Admitted | None, registry: Registry) -> Outgoing:
    """The body for the first attempt; later ones change in it the model, and by ``usage_wishes`` the wish for usage.

    Raises:
        BadRequestError: the body is not what its content type says.
    """
    headers, first = request.headers, decision.chain[0]
    if not request.model:
        return Outgoing()
    renamed = first.provider_model if first.provider_model != request.model else None
    if admitted is None or is_multipart(headers.get("content-type", "")):
        return Outgoing(None if renamed is None else rename_model(headers, body, renamed))
    wishes = _usage_wishes(decision, registry) if request.stream else {}
    asks = request.stream and first.deployment not in registry.never_asked_for_usage
    if renamed is None and admitted.max_output_tokens is None and admitted.system_line is None and not asks and not wishes:
        return Outgoing()
    edits = Edits(
        model=renamed,
        max_output_tokens=admitted.max_output_tokens,
        prefers_completion_tokens=_provider(first, registry).startswith(_KNOW_COMPLETION_TOKENS),
        include_usage=asks,
        system_line=admitted.system_line,
    )
    edited = edit_request(request.path, body, edits)
    is_unasked = edited.usage_injected if asks else bool(wishes) and is_silent(request.path, body)
    return Outgoing(None if edited.body is body else edited.body, is_unasked, wishes if is_unasked else {})


def _usage_wishes(decision: Decision, registry: Registry) -> dict[str, bool]:
    """Whom of the chains to ask for a stream's usage; nobody is listed where it is the same for all."""
    never = registry.never_asked_for_usage
    if not never:
        return {}
    chains = (decision.chain, *decision.cause_chains.values())
    wishes = {attempt.deployment: attempt.deployment not in never for chain in chains for attempt in chain}
    return wishes if len(set(wishes.values())) > 1 else {}


def _provider(attempt: Attempt, registry: Registry) -> str:
    model = registry.models.get(attempt.model)
    deployments = () if model is None else model.deployments
    return next((deployment.provider for deployment in deployments if deployment.name == attempt.deployment), "")
