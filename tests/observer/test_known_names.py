"""The registry tells what a deployment serves and what usage costs; nothing a client writes becomes a label."""

from __future__ import annotations

import pytest

from router_extproc.observer.known_names import KnownNames, cost_of
from router_extproc.observer.records import Usage
from router_extproc.registry.snapshot import Prices, PriceTier, Registry
from tests.observer.entries import REGISTRY

NAMES = KnownNames(REGISTRY)


def test_a_deployment_leads_to_its_model() -> None:
    """Model, tier and prices come from the registry; an unknown deployment has none."""
    served = NAMES.served("azure/gpt-4o")
    assert served is not None
    assert (served.model, served.tier, served.prices) == ("gpt-4o", "premium", Prices(2.5, 10.0, 1.25))
    assert NAMES.served("gone/gpt-4o") is None
    assert NAMES.served(None) is None
    assert KnownNames(Registry()).deployments == frozenset()


def test_labels_are_bounded() -> None:
    """What the registry does not have is ``other``, but for the routes of requests without a model."""
    routes = ("auto", "gpt-4o", "default", "path", "made-up", None)
    assert [NAMES.route_label(route) for route in routes] == ["auto", "gpt-4o", "default", "path", "other", "other"]
    assert [NAMES.deployment_label(name) for name in ("vllm/any", "made-up")] == ["vllm/any", "other"]


@pytest.mark.parametrize(
    ("usage", "prices", "cost"),
    [
        (Usage(1_000_000, 0), Prices(2.5, 10.0), 2.5),
        (Usage(0, 1_000_000), Prices(2.5, 10.0), 10.0),
        (Usage(1_000_000, 0, cached_tokens=400_000), Prices(2.5, 10.0, 1.25), 0.6 * 2.5 + 0.4 * 1.25),
        (Usage(1_000_000, 0, cached_tokens=400_000), Prices(2.5, 10.0), 2.5),
        (Usage(1_000_000, 0, cached_tokens=1_000_000), Prices(2.5, 10.0, 0.0), 0.0),
        (Usage(1_000, 100, cached_tokens=500), Prices(1, 10, 0.5, tiers=(PriceTier(999, 2, 20, 1),)), 0.001 + 0.0005 + 0.002),
        (None, Prices(2.5, 10.0), None),
        (Usage(1, 1), None, None),
    ],
)
def test_usage_is_priced(usage: Usage | None, prices: Prices | None, cost: float | None) -> None:
    """Per million tokens, cached ones at their own price where there is one; unknown is not free."""
    assert cost_of(usage, prices) == (None if cost is None else pytest.approx(cost))
