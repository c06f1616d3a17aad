"""What tenants, keys and budgets mean once models and prices are known: who can use nothing, what nobody counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router_extproc.caller import Permissions
from router_extproc.config import budgets
from router_extproc.config.check_spending import all_budgets
from router_extproc.config.conditions import covers_text
from router_extproc.config.redaction import shown
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source
from router_extproc.errors import Problem
from router_extproc.registry.models import is_wildcard, makes_pieces
from router_extproc.registry.snapshot import Model, Prices, Registry


def lint_spending(config: RouterConfig, source: Source, registry: Registry) -> Iterator[Problem]:
    """Every such warning, in no order."""
    yield from _nothing_allowed(config, source, registry)
    yield from _uncounted(config, source, registry)


def _nothing_allowed(config: RouterConfig, source: Source, registry: Registry) -> Iterator[Problem]:
    """Permissions that leave no model: of a tenant, or of a key together with its tenant."""
    spending = registry.spending
    # Many tenants share few permissions, and each look goes through all models.
    known: dict[tuple[Permissions, Permissions], bool] = {}

    def allow_nothing(one: Permissions, other: Permissions) -> bool:
        pair = (one, other)
        if pair not in known:
            known[pair] = not any(_allows(one, model) and _allows(other, model) for model in registry.models.values())
        return known[pair]

    for name in config.tenants:
        own = spending.tenants[name].permissions
        if allow_nothing(own, own):
            yield _no_model(source, ("tenants", name, "permissions"), "of this tenant")
    for name, key in config.keys.items():
        of_tenant, own = spending.tenants[key.tenant].permissions, spending.keys[name].permissions
        if allow_nothing(of_tenant, own) and not allow_nothing(of_tenant, of_tenant):
            yield _no_model(source, ("keys", name, "permissions"), "of this key and of its tenant together")


def _no_model(source: Source, path: Path, whose: str) -> Problem:
    message = f"the permissions {whose} leave no model"
    return source.problem(path, message, fix="allow one", code="nothing_allowed", severity="warning", key=True)


def _allows(permissions: Permissions, model: Model) -> bool:
    names = permissions.models
    tiers, regions = permissions.tiers, permissions.regions
    return (
        (names is None or any(covers_text(name, model.name) or covers_text(model.name, name) for name in names))
        and (tiers is None or model.tier.label in tiers)
        and (regions is None or any(deployment.region in regions for deployment in model.deployments))
    )


def _uncounted(config: RouterConfig, source: Source, registry: Registry) -> Iterator[Problem]:
    """Models without a price, where a budget in USD is to hold."""
    # Also a wildcard: the catalogue knows its models by their names, and nobody looks there for each that a client may write.
    unpriced = {name: model for name, model in registry.models.items() if model.prices is None}
    path = next((path for path, budget in all_budgets(config) if budget.unit == "usd" and budget.mode == "enforce"), None)
    texts = [name for name, model in unpriced.items() if not makes_pieces(model)]
    if path is not None and texts:
        yield _unpriced(source, path, texts)
    pieces = [name for name, model in registry.models.items() if makes_pieces(model) and not _has_piece_price(model.prices)]
    hard = next(((*path, budget.unit) for path, budget in all_budgets(config) if _holds_an_amount(budget)), None)
    if hard is not None and pieces:
        yield _refused(source, hard, pieces)
    for provider, written in config.providers.items():
        there = [name for name, model in unpriced.items() if any(one.provider == provider for one in model.deployments)]
        if written.budget is not None and written.budget.mode == "enforce" and there:
            yield _unpriced(source, ("providers", provider, "budget"), there)


def _holds_an_amount(budget: budgets.Budget) -> bool:
    return budget.unit in ("usd", "tokens") and budget.mode == "enforce" and budget.at_cap == "reject"


def _has_piece_price(prices: Prices | None) -> bool:
    if prices is None:
        return False
    told = (prices.request, prices.image, prices.characters, prices.audio_minute, prices.video_second)
    return any(price is not None for price in told)


def _refused(source: Source, path: Path, names: Sequence[str]) -> Problem:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    message = f"`{shown(names[0])}`{others} has no price by the piece: it is refused to whoever falls under this budget"
    fix = f"write models.{shown(names[0])}.prices with `image`, `characters`, `audio_minute`, `video_second` or `request`"
    return source.problem(path, message, fix=fix, code="no_price_by_piece", severity="warning", key=True)


def _unpriced(source: Source, path: Path, names: Sequence[str]) -> Problem:
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    message = f"`{shown(names[0])}`{others} has no price: what it answers is not counted here"
    fix = f"write models.{shown(names[0])}.prices"
    if is_wildcard(names[0]):
        fix = f'write models."{shown(names[0])}".prices, the highest that any of them has'
    return source.problem((*path, "usd"), message, fix=fix, code="unpriced_under_budget", severity="warning", key=True)
