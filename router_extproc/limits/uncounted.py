"""Requests by which a provider is made to run models that the router never sees: a batch, a run, a tuning.

Rules of this file
- Neither a permission nor an amount can hold there, so who has one of these may not ask for it, unless ``permissions.routes``
  lists ``path`` or a pattern that covers it: whoever writes that has decided it.
- What stores or reads is no such request. What is unknown is, unless it names the model that answers it.
- A provider that is a gateway itself may be told further models: the one that answers is then nobody's choice here.
- A model that is named for a batch or a run says little of what it uses, and nothing of what it costs: these are never seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from router_extproc.caller import Caller
from router_extproc.errors import PermissionDeniedError
from router_extproc.limits.selection import is_provider_limit
from router_extproc.registry.spending import Budget
from router_extproc.request import BY_PATH, Request, is_below

_READS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_STORES = ("/v1/files", "/v1/uploads", "/v1/conversations", "/v1/vector_stores", "/v1/moderations")
# Their work is done after the answer, or past us altogether, and nobody here learns what it used.
_NEVER_SEEN = (
    "/v1/batches",
    "/v1/assistants",
    "/v1/threads",
    "/v1/realtime",
    "/v1/fine_tuning",
    "/v1/containers",
    "/v1/evals",
)
_SHOWN = 120


def refuse_unseen(request: Request, budgets: Sequence[Budget] = ()) -> None:
    """Lets a request pass that runs nothing unseen, and a caller whom nothing limits; ``budgets`` are those it falls under.

    Raises:
        PermissionDeniedError: what the caller may use or spend could not be held to.
    """
    runs_unseen = _runs_unseen(request)
    further = "" if runs_unseen else _further_models(request.body)
    if not (runs_unseen or further) or _is_allowed(request.caller):
        return
    permissions = request.caller.permissions
    limits = (permissions.models, permissions.tiers, permissions.max_context_tokens, permissions.max_output_tokens)
    counting = next((one.name for one in budgets if _holds_amounts(one)), None)
    if counting is None and all(limit is None for limit in limits):
        return
    why = "your permissions" if counting is None else f"the budget '{counting}'"
    if further:
        raise PermissionDeniedError(
            f"You may not name further models in '{further}': whichever answers cannot be held to {why}.", param=further
        )
    how = "" if is_below(request.path, _NEVER_SEEN) else " without naming a model"
    raise PermissionDeniedError(
        f"You may not use {request.path[:_SHOWN]}{how}: what it runs cannot be held to {why}.", param="model"
    )


def refuse_unpriced(request: Request, budgets: Sequence[Budget]) -> None:
    """Lets a request whose cost nobody can bound pass where no budget that it falls under holds an amount.

    Raises:
        PermissionDeniedError: it might cost more than is left.
    """
    counting = next((one.name for one in budgets if _holds_amounts(one)), None)
    if counting is None or _is_allowed(request.caller):
        return
    hints = {"/v1/videos": " Say how long it is to be, in 'seconds'.", "/v1/responses": " Say 'max_tool_calls'."}
    hint = next((hint for root, hint in hints.items() if request.path.startswith(root)), "")
    raise PermissionDeniedError(
        f"You may not use {request.path[:_SHOWN]} with '{request.model[:_SHOWN]}': what it costs is not known before, so it"
        f" cannot be held to the budget '{counting}'.{hint}",
        param="model",
    )


def _runs_unseen(request: Request) -> bool:
    if request.method in _READS or request.path.endswith("/cancel"):
        return False
    return is_below(request.path, _NEVER_SEEN) if request.model else not is_below(request.path, _STORES)


class _Further(msgspec.Struct):
    """By which OpenRouter and LiteLLM are told which models to ask beside the one in ``model``."""

    models: Any = None
    fallbacks: Any = None


# One of the names, or an escape that may spell it.
_MAY_NAME_FURTHER = re.compile(rb'"(?:models|fallbacks)"|\\u00[4-7]')
_further = msgspec.json.Decoder(_Further)


def _further_models(body: bytes) -> str:
    """The member of the body that names further models; empty where none does."""
    if _MAY_NAME_FURTHER.search(body) is None:
        return ""
    try:
        found = _further.decode(body)
    except (msgspec.DecodeError, ValueError):
        return ""
    return "models" if found.models else "fallbacks" if found.fallbacks else ""


def _is_allowed(caller: Caller) -> bool:
    """Whether the caller's routes name such requests, by their route's name or a pattern."""
    routes = caller.permissions.routes or ()
    return any(BY_PATH.startswith(one[:-1]) if one.endswith("*") else one == BY_PATH for one in routes)


def _holds_amounts(budget: Budget) -> bool:
    is_hard = budget.mode == "enforce" and budget.at_cap == "reject"
    return is_hard and budget.unit in ("usd", "tokens") and not is_provider_limit(budget)
