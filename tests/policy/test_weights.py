"""Weighted orders: exact over many seeds, the same for the same seed."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.policy.weights import Draws, order_by_weight

DRAWS = 10_000


def chi_squared(counts: Counter[str], expected: dict[str, float]) -> float:
    return sum((counts[name] - share) ** 2 / share for name, share in expected.items())


def critical_value(freedom: int) -> float:
    """The value that chi squared exceeds with probability 1e-5 (Wilson and Hilferty's approximation)."""
    normal = 4.2649
    return freedom * (1 - 2 / (9 * freedom) + normal * math.sqrt(2 / (9 * freedom))) ** 3


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (70, 20, 10), (0.5, 0.25, 0.125, 0.125), (1, 100)])
@pytest.mark.parametrize("first_seed", [0, 10**12])
def test_first_places_follow_the_weights(weights: tuple[float, ...], first_seed: int) -> None:
    """Over 10,000 counted seeds each item leads in proportion to its weight (chi squared, p > 1e-5)."""
    names = [f"item-{index}" for index in range(len(weights))]
    leads = Counter(order_by_weight(names, weights, Draws(seed))[0] for seed in range(first_seed, first_seed + DRAWS))
    expected = {name: DRAWS * weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    assert chi_squared(leads, expected) < critical_value(len(weights) - 1)


def test_whole_orders_follow_the_weights() -> None:
    """Each place goes to one of the rest in proportion to its weight, so every order has its exact share."""
    weights = {"a": 5.0, "b": 3.0, "c": 2.0}
    orders = Counter("".join(order_by_weight([*weights], [*weights.values()], Draws(seed))) for seed in range(DRAWS))
    expected = {}
    for order in itertools.permutations(weights):
        first, second, _ = (weights[name] for name in order)
        expected["".join(order)] = DRAWS * first / 10 * second / (10 - first)
    assert chi_squared(orders, expected) < critical_value(5)


def test_successive_draws_of_one_seed_are_independent() -> None:
    """Two orders drawn from one stream do not follow each other."""
    pairs: Counter[str] = Counter()
    for seed in range(DRAWS):
        draws = Draws(seed)
        pairs[order_by_weight("ab", (1, 1), draws)[0] + order_by_weight("cd", (1, 1), draws)[0]] += 1
    assert chi_squared(pairs, dict.fromkeys(("ac", "ad", "bc", "bd"), DRAWS / 4)) < critical_value(3)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.integers())
def test_an_order_is_a_permutation_and_repeatable(weights: list[float], seed: int) -> None:
    """Nothing is lost or doubled, and the same seed gives the same order."""
    items = list(range(len(weights)))
    ordered = order_by_weight(items, weights, Draws(seed))
    assert sorted(ordered) == items
    assert order_by_weight(items, weights, Draws(seed)) == ordered


@given(st.integers())
def test_draws_stay_within_bounds(seed: int) -> None:
    """A draw is above 0, whose logarithm does not exist, and at most 1."""
    draws = Draws(seed)
    assert all(0 < draws.uniform() <= 1 for _ in range(20))
