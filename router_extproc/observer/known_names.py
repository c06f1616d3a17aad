"""What the registry knows about the names in a log entry: the model behind a deployment, its tier and its prices.

It also bounds metric labels: a name that the registry does not have is ``other``.
"""

from __future__ import annotations

import msgspec

from router_extproc.observer.records import Usage
from router_extproc.registry.snapshot import Prices, Registry

OTHER = "other"
# Routes that no configuration names: of requests that no worker decided, and of those that name no model.
_UNNAMED_ROUTES = ("default", "path")


class Served(msgspec.Struct, frozen=True):
    """The model that a deployment serves; the name of a wildcard model ends in ``*``."""

    model: str
    tier: str
    prices: Prices | None


class KnownNames:
    """A view of one registry; immutable."""

    def __init__(self, registry: Registry) -> None:
        self._served = {
            deployment.name: Served(model=model.name, tier=model.tier.label, prices=model.prices)
            for model in registry.models.values()
            for deployment in model.deployments
        }
        self._model_names = frozenset(registry.models)
        self._routes = frozenset({*_UNNAMED_ROUTES, *registry.routes, *registry.aliases})

    @property
    def deployments(self) -> frozenset[str]:
        """All deployments of the registry."""
        return frozenset(self._served)

    @property
    def models(self) -> frozenset[str]:
        """All models of the registry."""
        return self._model_names

    def served(self, deployment: str | None) -> Served | None:
        """The model that ``deployment`` serves, None when unknown."""
        return self._served.get(deployment or "")

    def route_label(self, route: str | None) -> str:
        """The route as a metric label."""
        return route if route in self._routes else OTHER

    def deployment_label(self, deployment: str) -> str:
        """The deployment as a metric label."""
        return deployment if deployment in self._served else OTHER


def cost_of(usage: Usage | None, prices: Prices | None) -> float | None:
    """USD for ``usage``, None when either is unknown."""
    if usage is None or prices is None:
        return None
    return round(prices.cost(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), 10)
