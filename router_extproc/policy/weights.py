"""Weighted orders from one seed: the same seed gives the same order, and over many seeds the shares are exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")

_MASK = (1 << 64) - 1


class Draws:
    """A stream of uniform numbers from one seed, made with SplitMix64 (Steele, Lea, Flood 2014).

    It takes any seed, also counted ones, and costs a fraction of seeding Python's own generator.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def uniform(self) -> float:
        """The next number, above 0 and at most 1."""
        self._state = state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return (((state ^ (state >> 31)) >> 11) + 1) * 2.0**-53


def order_by_weight(items: Sequence[_T], weights: Sequence[float], draws: Draws) -> list[_T]:
    """All items in an order drawn without replacement: each place goes to one of the rest in proportion to its weight.

    Exponential races (Efraimidis and Spirakis 2006): an item with weight w arrives after an exponential time of rate w.
    """
    if len(items) == 1:
        return [items[0]]
    arrivals = [-math.log(draws.uniform()) / weight for weight in weights]
    return [items[index] for index in sorted(range(len(items)), key=arrivals.__getitem__)]
