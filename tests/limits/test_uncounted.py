"""What a provider would run unseen is refused to whoever has permissions or budgets that could not hold there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.caller import Caller, Permissions
from router_extproc.errors import PermissionDeniedError
from router_extproc.limits.claims import budgets_for, plan
from router_extproc.limits.uncounted import refuse_unseen
from router_extproc.registry.spending import Budget
from router_extproc.request import Request
from router_extproc.router import Router
from tests.limits.cases import registry

UNSEEN = [
    "/v1/batches",
    "/v1/threads/t/runs",
    "/v1/fine_tuning/jobs",
    "/v1/realtime/client_secrets",
    "/v1/responses",
    "/v1/evals",
]
MONEY = Budget("house", "usd", 1_000_000)


def asked(path: str, method: str = "POST", model: str = "", **permissions: Any) -> Request:
    return Request(path, model, method, caller=Caller("acme", permissions=Permissions(**permissions)))


@pytest.mark.parametrize("path", UNSEEN)
@pytest.mark.parametrize(
    "permissions", [{"models": ("small",)}, {"tiers": ("economy",)}, {"max_output_tokens": 5}, {"max_context_tokens": 5}]
)
def test_permissions_are_not_got_around(path: str, permissions: dict[str, Any]) -> None:
    """Who may use some models only cannot have others run by a batch, and the router itself says so."""
    with pytest.raises(PermissionDeniedError, match="permissions"):
        refuse_unseen(asked(path, **permissions))
    with pytest.raises(PermissionDeniedError):
        Router(registry()).decide(asked(path, **permissions))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/batches", "/v1/threads/runs", "/v1/threads/t/runs", "/v1/fine_tuning/jobs", "/v1/realtime/client_secrets",
        "/v1/realtime/sessions", "/v1/evals/e/runs", "/v1/containers", "/v1/assistants",
    ],
)  # fmt: skip
def test_a_model_that_is_named_opens_no_door(path: str) -> None:
    """What a batch, a run, a tuning or a session costs is seen nowhere, whatever model its request names beside it."""
    with pytest.raises(
        PermissionDeniedError, match=f"You may not use {path}: what it runs cannot be held to the budget 'house'"
    ):
        refuse_unseen(asked(path, model="small"), [MONEY])
    with pytest.raises(PermissionDeniedError, match="permissions"):
        Router(registry()).decide(asked(path, model="small", models=("small",)))
    refuse_unseen(asked(path, model="small"))
    refuse_unseen(asked(path, model="small", routes=("small", "path")), [MONEY])


def chat(**more: Any) -> Request:
    body = {"model": "small", "messages": [{"role": "user", "content": 'he said "models" and "fallbacks"'}]} | more
    return replace(asked("/v1/chat/completions", model="small"), body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"models": ["large"]}, "models"),
        ({"models": "large"}, "models"),
        ({"fallbacks": [{"model": "large"}]}, "fallbacks"),
    ],
)
def test_no_other_model_is_named_beside_the_one_that_is_allowed(body: dict[str, Any], name: str) -> None:
    """A provider that is a gateway itself would go on to it, at another price; who is not limited may."""
    limited = Caller("acme", permissions=Permissions(models=("small",)))
    escaped = chat(**body).body.replace(name.encode(), name.encode().replace(b"l", b"\\u006c"))
    for request in (chat(**body), replace(chat(), body=escaped)):
        with pytest.raises(PermissionDeniedError, match=f"'{name}'.*the budget 'house'") as caught:
            refuse_unseen(request, [MONEY])
        assert caught.value.param == name
        with pytest.raises(PermissionDeniedError, match="your permissions"):
            Router(registry()).decide(replace(request, caller=limited))
        refuse_unseen(request)


@pytest.mark.parametrize("body", [{}, {"models": None}, {"models": []}, {"fallbacks": None}, {"metadata": {"models": ["x"]}}])
def test_what_names_no_further_model_passes(body: dict[str, Any]) -> None:
    """Empty lists, the same word deeper down or in a text, and bodies that are no JSON."""
    refuse_unseen(chat(**body), [MONEY])
    refuse_unseen(replace(chat(), body=b'--x\r\ncontent-disposition: form-data; name="models"\r\n\r\ny'), [MONEY])


@pytest.mark.parametrize("path", UNSEEN)
def test_a_budget_is_not_got_around(path: str) -> None:
    """What an enforced budget cannot count is not sent, and the message names the budget."""
    with pytest.raises(PermissionDeniedError, match="house"):
        refuse_unseen(asked(path), [MONEY])


@pytest.mark.parametrize(
    "request_",
    [
        asked("/v1/files", models=("small",)),
        asked("/v1/uploads/u/complete", models=("small",)),
        asked("/v1/batches", "GET", models=("small",)),
        asked("/v1/batches/b/cancel", models=("small",)),
        asked("/v1/images/generations", model="small", models=("small",)),
        asked("/v1/rerank", model="small", models=("small",)),
        asked("/v1/batches/b/cancel", model="small", models=("small",)),
        asked("/v1/batches", models=("small",), routes=("path",)),
        asked("/v1/batches", models=("small",), routes=("*",)),
    ],
)
def test_what_is_seen_or_allowed_passes(request_: Request) -> None:
    """What only stores, reads or stops, what the model that it names answers, and what somebody allowed by name."""
    refuse_unseen(request_, [MONEY])


@pytest.mark.parametrize(
    "budget",
    [
        Budget("watched", "usd", 1, mode="observe"),
        Budget("flags", "usd", 1, at_cap="allow_and_flag"),
        Budget("counted", "requests", 1),
        Budget("provider:one", "tokens", 1, match=(("provider", "one"),)),
    ],
)
def test_who_is_not_limited_in_amounts_may(budget: Budget) -> None:
    """Budgets that refuse nothing, that count requests, and what a provider itself keeps to, hold as they are."""
    refuse_unseen(asked("/v1/batches"), [budget])


def test_planning_refuses_it() -> None:
    """Whoever sets something aside for a request learns that it cannot be counted."""
    found, request = registry(), asked("/v1/batches")
    decision = Router(found).decide(asked("/v1/chat/completions", model="large"))
    with pytest.raises(PermissionDeniedError):
        plan(request, decision, found, [MONEY], 0.0, reservation="r")
    assert plan(request, decision, found, budgets_for(found), 0.0, reservation="r").holds == ()
