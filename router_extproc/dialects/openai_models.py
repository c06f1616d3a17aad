"""The answer to ``GET /v1/models``: every name a client may write, in OpenAI's shape, with limits and prices beside it.

The registry is described here by what this answer reads of it, because rooms of one floor do not import each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol
from urllib.parse import unquote

import msgspec

from router_extproc.errors import ModelNotFoundError

# OpenAI's clients require the field; nothing here knows when a model was made.
_CREATED = 0
_ROUTER = "router"


class _Prices(Protocol):
    @property
    def input(self) -> float: ...
    @property
    def output(self) -> float: ...
    @property
    def cached_input(self) -> float | None: ...


class _Tier(Protocol):
    @property
    def label(self) -> str: ...


class _Deployment(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def provider(self) -> str: ...


class _Model(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def tier(self) -> _Tier: ...
    @property
    def deployments(self) -> Iterable[_Deployment]: ...
    @property
    def context_window(self) -> int | None: ...
    @property
    def output_limit(self) -> int | None: ...
    @property
    def capabilities(self) -> frozenset[str] | None: ...
    @property
    def prices(self) -> _Prices | None: ...


class _Target(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...


class _Plan(Protocol):
    @property
    def targets(self) -> Iterable[_Target]: ...


class _Route(Protocol):
    @property
    def named_model(self) -> str | None: ...
    @property
    def plan(self) -> _Plan: ...


class Names(Protocol):
    """What is read of a registry."""

    @property
    def models(self) -> Mapping[str, _Model]: ...  # noqa: D102
    @property
    def routes(self) -> Mapping[str, _Route]: ...  # noqa: D102
    @property
    def aliases(self) -> Mapping[str, str]: ...  # noqa: D102


class Pricing(msgspec.Struct, omit_defaults=True):
    """``prompt`` and ``completion``: USD per token as decimal strings; the others: USD per million tokens."""

    prompt: str
    completion: str
    input_per_million: float
    output_per_million: float
    input_cache_read: str | None = None
    cached_input_per_million: float | None = None


class Entry(msgspec.Struct):
    """One name. ``kind`` is ``route``, ``model`` or ``alias``. Limits are in tokens.

    A route shows the widest limits and the lowest prices among its models.
    """

    id: str
    owned_by: str
    kind: str
    object: str = "model"
    created: int = _CREATED
    tier: str | None = None
    context_window: int | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    capabilities: list[str] | None = None
    pricing: Pricing | None = None
    alias_of: str | None = None


def list_entries(names: Names) -> list[Entry]:
    """Routes first, then models, then aliases, each in file order."""
    routes = [_route(name, route, names) for name, route in names.routes.items() if name not in names.models]
    models = [_model(model) for model in names.models.values()]
    known = {entry.id: entry for entry in (*routes, *models)}
    return [*routes, *models, *(_alias(name, known.get(target), target) for name, target in names.aliases.items())]


def write_models(names: Names) -> bytes:
    """The body of ``GET /v1/models``."""
    return msgspec.json.encode({"object": "list", "data": list_entries(names)})


def write_model(names: Names, name: str) -> bytes:
    """The body of ``GET /v1/models/{id}``; the name may be percent-encoded, as it stands in a path.

    Raises:
        ModelNotFoundError: no route, model, alias or wildcard has that name.
    """
    name = unquote(name)
    entries = list_entries(names)
    found = [entry for entry in entries if entry.id == name]
    found += [entry for entry in entries if entry.id.endswith("*") and name.startswith(entry.id[:-1])]
    if found:
        return msgspec.json.encode(msgspec.structs.replace(found[0], id=name))
    raise ModelNotFoundError(f"The model '{name}' does not exist.", param="model")


def _model(model: _Model) -> Entry:
    providers = [deployment.provider for deployment in model.deployments]
    return Entry(
        id=model.name,
        owned_by=providers[0] if providers else _ROUTER,
        kind="model",
        tier=model.tier.label,
        context_window=model.context_window,
        context_length=model.context_window,
        max_output_tokens=model.output_limit,
        capabilities=None if model.capabilities is None else sorted(model.capabilities),
        pricing=_pricing(model.prices),
    )


def _route(name: str, route: _Route, names: Names) -> Entry:
    models = list(_models_of(route, names))
    priced = [model.prices for model in models if model.prices is not None]
    window = max((model.context_window for model in models if model.context_window is not None), default=None)
    return Entry(
        id=name,
        owned_by=_ROUTER,
        kind="route",
        context_window=window,
        context_length=window,
        max_output_tokens=max((model.output_limit for model in models if model.output_limit is not None), default=None),
        pricing=_pricing(min(priced, key=lambda prices: prices.input + prices.output, default=None)),
    )


def _models_of(route: _Route, names: Names) -> Iterable[_Model]:
    if route.named_model is not None and route.named_model in names.models:
        return [names.models[route.named_model]]
    targets = {(target.kind, target.name) for target in route.plan.targets}
    return [
        model
        for model in names.models.values()
        if not targets
        or ("model", model.name) in targets
        or ("tier", model.tier.label) in targets
        or any(("deployment", deployment.name) in targets for deployment in model.deployments)
    ]


def _alias(name: str, entry: Entry | None, target: str) -> Entry:
    if entry is None:
        return Entry(id=name, owned_by=_ROUTER, kind="alias", alias_of=target)
    return msgspec.structs.replace(entry, id=name, kind="alias", alias_of=target)


def _pricing(prices: _Prices | None) -> Pricing | None:
    if prices is None:
        return None
    return Pricing(
        prompt=_per_token(prices.input),
        completion=_per_token(prices.output),
        input_per_million=prices.input,
        output_per_million=prices.output,
        input_cache_read=None if prices.cached_input is None else _per_token(prices.cached_input),
        cached_input_per_million=prices.cached_input,
    )


def _per_token(per_million: float) -> str:
    """USD per token as a decimal string without exponent: 2.5 per million is ``0.0000025``."""
    return f"{per_million / 1_000_000:.12f}".rstrip("0").rstrip(".")
