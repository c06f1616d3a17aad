"""Hashes of many slices of one text at once: two sums for each slice, whatever its length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.uint32]
Indices = NDArray[np.intp]

# The hash of s[0..n] is the sum of (s[i] + 1) * base^i modulo 2^64, so that any slice follows from two prefix sums; any odd
# base has an inverse. Multiplying and folding spreads it: the constants are odd and otherwise arbitrary.
_BASE = 0x9E3779B97F4A7C15
_SPREAD, _FOLD = np.uint64(0xD6E8FEB86659FD93), np.uint64(31)
_ONE = np.uint64(1)
_BITS_64 = 2**64 - 1


def code_points(text: str) -> Points:
    """The code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def prefix_hashes(text: str, start: int, end: int) -> Iterator[int]:
    """The hashes of the slices that begin at `start`, the shortest first: for words so few that arrays do not pay."""
    total, power, fold, spread = 0, 1, int(_FOLD), int(_SPREAD)
    for place in range(start, end):
        total = total + (ord(text[place]) + 1) * power & _BITS_64
        power = power * _BASE & _BITS_64
        yield (total ^ total >> fold) * spread & _BITS_64


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    powers = np.full(count, base % 2**64, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


class SliceHasher:
    """Hashes slices of texts of at most ``longest`` code points."""

    def __init__(self, longest: int) -> None:
        self._powers, self._inverses = _powers(_BASE, longest), _powers(pow(_BASE, -1, 2**64), longest)

    def prefix_sums(self, points: Points) -> NDArray[np.uint64]:
        """What the hashes of a text's slices follow from."""
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum((points + _ONE) * self._powers[: len(points)], out=sums[1:])
        return sums

    def hashes(self, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.uint64]:
        """The 64-bit hashes of slices, each the same wherever the slice stands; the high bits are the best mixed."""
        mixed = (sums[ends] - sums[starts]) * self._inverses[starts]
        return (mixed ^ (mixed >> _FOLD)) * _SPREAD
