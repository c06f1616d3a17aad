"""The list of models, as the OpenAI SDK reads it."""

from __future__ import annotations

import json

import openai.types
import pytest

from router_extproc.dialects.openai import write_model, write_models
from router_extproc.errors import ModelNotFoundError
from router_extproc.registry.snapshot import Plan, Prices, Registry, Route, Tier
from tests.policy import registries as build


@pytest.fixture
def registry() -> Registry:
    small = build.model("small", Tier.ECONOMY, context_window=1_000, prices=Prices(0.15, 0.6, 0.075))
    big = build.model("big", Tier.PREMIUM, context_window=200_000, output_limit=8_000, prices=Prices(3, 15))
    unknown = build.model("unknown")
    wider = build.model("wide-angle-*", context_window=7)
    routes = (
        Route("auto"),
        Route("team", Plan(targets=build.targets("economy", kind="tier"))),
        Route("wide-*", named_model=None),
    )
    return build.registry(small, big, unknown, wider, routes=routes, aliases={"nick": "small", "lost": "gone"})


def test_every_name_a_client_may_write_is_listed_once(registry: Registry) -> None:
    """Routes, models and aliases are there, in this order, and the SDK can read each."""
    data = json.loads(write_models(registry))["data"]
    assert [(one["id"], one["kind"]) for one in data] == [
        ("auto", "route"),
        ("team", "route"),
        ("wide-*", "route"),
        ("small", "model"),
        ("big", "model"),
        ("unknown", "model"),
        ("wide-angle-*", "model"),
        ("nick", "alias"),
        ("lost", "alias"),
    ]
    assert [openai.types.Model.model_validate(one).object for one in data] == ["model"] * len(data)


def test_limits_and_prices_stand_beside_the_name(registry: Registry) -> None:
    """A model shows its limits and prices, per token as decimal strings and per million as numbers."""
    model = json.loads(write_model(registry, "small"))
    assert (model["context_window"], model["context_length"], model["tier"], model["owned_by"]) == (
        1_000,
        1_000,
        "economy",
        "p",
    )
    assert model["pricing"] == {
        "prompt": "0.00000015",
        "completion": "0.0000006",
        "input_per_million": 0.15,
        "output_per_million": 0.6,
        "input_cache_read": "0.000000075",
        "cached_input_per_million": 0.075,
    }
    assert json.loads(write_model(registry, "unknown"))["pricing"] is None


def test_what_is_paid_by_the_piece_is_not_shown_as_free() -> None:
    """Its tokens have no price, and a route is not called free because of it."""
    painter = build.model("painter", Tier.ECONOMY, prices=Prices(0.0, 0.0, image=0.04, by_piece_only=True))
    found = build.registry(painter, build.model("small", prices=Prices(0.15, 0.6)), routes=(Route("auto"),))
    assert json.loads(write_model(found, "painter"))["pricing"] is None
    assert json.loads(write_model(found, "auto"))["pricing"]["input_per_million"] == 0.15


def test_a_route_shows_the_best_of_its_models(registry: Registry) -> None:
    """A route promises its widest window and its lowest price; an alias shows what it stands for."""
    auto, team = (json.loads(write_model(registry, name)) for name in ("auto", "team"))
    assert (auto["context_window"], auto["pricing"]["input_per_million"]) == (200_000, 0.15)
    assert team["context_window"] == 1_000
    nick = json.loads(write_model(registry, "nick"))
    assert (nick["alias_of"], nick["context_window"]) == ("small", 1_000)


def test_a_name_may_be_encoded_or_matched_by_a_wildcard(registry: Registry) -> None:
    """A client may ask for any name that it could write in a request."""
    found = json.loads(write_model(registry, "wide-a%2Fb"))
    assert (found["id"], found["kind"]) == ("wide-a/b", "route")
    assert json.loads(write_model(registry, "wide-angle-9"))["context_window"] == 7, "the longest wildcard decides"


def test_a_name_that_is_not_there_is_a_404(registry: Registry) -> None:
    """An unknown id is refused by name."""
    with pytest.raises(ModelNotFoundError, match="'nope'"):
        write_model(registry, "nope")
