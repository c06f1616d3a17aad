"""From names to routes."""

from __future__ import annotations

import pytest

from router_extproc.errors import ModelNotFoundError
from router_extproc.policy.naming import resolve
from router_extproc.registry.snapshot import Registry, Route
from tests.policy import registries as build

REGISTRY = build.registry(
    build.model("gpt"),
    build.model("gpt-*"),
    build.model("gpt-4*"),
    routes=(Route("auto"), Route("team/*")),
    aliases={"nick": "gpt", "nicker": "nick", "wild": "gpt-4-turbo", "loop": "pool", "pool": "loop"},
)


@pytest.mark.parametrize(
    ("name", "route", "matched", "by_alias"),
    [
        ("auto", "auto", None, False),
        ("gpt", "gpt", None, False),
        ("nick", "gpt", None, True),
        ("nicker", "gpt", None, True),
        ("gpt-5", "gpt-*", "5", False),
        ("gpt-4o", "gpt-4*", "o", False),
        ("gpt-", "gpt-*", "", False),
        ("wild", "gpt-4*", "-turbo", True),
        ("team/red", "team/*", "red", False),
    ],
)
def test_names(name: str, route: str, matched: str | None, by_alias: bool) -> None:  # noqa: FBT001 - a table's column
    """Exact names first, then aliases, then the longest wildcard."""
    found = resolve(name, REGISTRY)
    assert (found.route.name, found.matched, found.by_alias) == (route, matched, by_alias)


@pytest.mark.parametrize("name", ["loop", "GPT", "", "unknown", "x" * 10_000, "gpt-*", "gpt-4\r\nx: y", "gpt-4" * 100])
def test_what_leads_nowhere_is_not_found(name: str) -> None:
    """Unknown names and aliases that go in circles are a 404 of bounded length."""
    with pytest.raises(ModelNotFoundError) as raised:
        resolve(name, REGISTRY)
    assert len(raised.value.message) < 300


def test_among_many_names_only_a_near_one_is_suggested() -> None:
    """A suggestion must not cost more than the decision: far names are passed over when there are many."""
    many = build.registry(*(build.model(f"model-{index}") for index in range(200)))
    with pytest.raises(ModelNotFoundError, match="'model-77'"):
        resolve("modell-77", many)
    with pytest.raises(ModelNotFoundError, match="GET /v1/models"):
        resolve("zzzzzzzz", many)


def test_an_empty_registry_suggests_nothing() -> None:
    """Without any name there is nothing to suggest."""
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        resolve("x", Registry())
