"""The answer to ``GET /v1/models``: every name a client may write, in OpenAI's shape, with limits and prices beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from urllib.parse import unquote

import msgspec

from router_extproc.errors import ModelNotFoundError
from router_extproc.registry.snapshot import Model, Prices, Registry, Route

# OpenAI's clients require the field; nothing here knows when a model was made.
_CREATED = 0
_ROUTER = "router"
_SHOWN = 120


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


def list_entries(registry: Registry) -> list[Entry]:
    """Routes first, then models, then aliases, each in file order."""
    routes = [_route(name, route, registry) for name, route in registry.routes.items() if name not in registry.models]
    models = [_model(model) for model in registry.models.values()]
    known = {entry.id: entry for entry in (*routes, *models)}
    return [*routes, *models, *(_alias(name, known.get(target), target) for name, target in registry.aliases.items())]


def model_names(registry: Registry) -> tuple[str, ...]:
    """Every name that is listed: routes, models and aliases."""
    return tuple(dict.fromkeys((*registry.routes, *registry.models, *registry.aliases)))


def write_models(registry: Registry, visible: Collection[str] | None = None) -> bytes:
    """The body of ``GET /v1/models``, with the ``visible`` names only; None: all."""
    return msgspec.json.encode({"object": "list", "data": _visible_entries(registry, visible)})


def write_model(registry: Registry, name: str, visible: Collection[str] | None = None) -> bytes:
    """The body of ``GET /v1/models/{id}``; the name may be percent-encoded, as it stands in a path.

    Raises:
        ModelNotFoundError: no route, model, alias or wildcard has that name, or it is not among the ``visible``.
    """
    name = unquote(name)
    entries = {entry.id: entry for entry in _visible_entries(registry, visible)}
    wildcards = [known for known in entries if known.endswith("*") and name.startswith(known[:-1])]
    found = entries.get(name) or entries.get(max(wildcards, key=len, default=""))
    if found is None:
        raise ModelNotFoundError(f"The model '{name[:_SHOWN]}' does not exist.", param="model")
    return msgspec.json.encode(msgspec.structs.replace(found, id=name))


def _visible_entries(registry: Registry, visible: Collection[str] | None) -> list[Entry]:
    return [entry for entry in list_entries(registry) if visible is None or entry.id in visible]


def _model(model: Model) -> Entry:
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


def _route(name: str, route: Route, registry: Registry) -> Entry:
    models = list(_models_of(route, registry))
    priced = [model.prices for model in models if model.prices is not None and not model.prices.by_piece_only]
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


def _models_of(route: Route, registry: Registry) -> Iterable[Model]:
    if route.named_model is not None and route.named_model in registry.models:
        return [registry.models[route.named_model]]
    targets = {(target.kind, target.name) for target in route.plan.targets}
    return [
        model
        for model in registry.models.values()
        if not targets
        or ("model", model.name) in targets
        or ("tier", model.tier.label) in targets
        or any(("deployment", deployment.name) in targets for deployment in model.deployments)
    ]


def _alias(name: str, entry: Entry | None, target: str) -> Entry:
    if entry is None:
        return Entry(id=name, owned_by=_ROUTER, kind="alias", alias_of=target)
    return msgspec.structs.replace(entry, id=name, kind="alias", alias_of=target)


def _pricing(prices: Prices | None) -> Pricing | None:
    if prices is None or prices.by_piece_only:
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
