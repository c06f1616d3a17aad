"""Which strings are tokens of o200k_base: the vocabulary as fingerprints in one megabyte that all workers share.

``scripts/build_token_table.py`` writes the table from the published vocabulary (OpenAI's tiktoken, MIT); two of a
hundred thousand strings that are no tokens are taken for one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.pretokens import BREAK, BREAK_CHARACTER, CODE_POINTS, Indices, Points

FOLDER = Path(__file__).parent / "data"
FINGERPRINTS_FILE, CLASSES_FILE = "o200k_base.npy", "character_classes.npy"

# Code points of the longest text that can be hashed at once.
LONGEST = 4_864
# Either half of the table has a place for every token (cuckoo hashing).
PLACE_BITS = 18
_PLACES = 1 << PLACE_BITS
_FIRST, _SECOND = np.uint64(64 - PLACE_BITS), np.uint64(64 - 2 * PLACE_BITS)
_PLACE_MASK = np.uint64(_PLACES - 1)
# The hash of s[0..n] is the sum of (s[i] + 1) * base^i modulo 2^64, so that any slice follows from two prefix sums; any odd
# base has an inverse. Multiplying and folding spreads it: the constants are odd and otherwise arbitrary.
_BASE = 0x9E3779B97F4A7C15
_SPREAD, _FOLD = np.uint64(0xD6E8FEB86659FD93), np.uint64(31)
_ONE = np.uint64(1)


def _powers(base: int) -> NDArray[np.uint64]:
    powers = np.full(LONGEST, base % 2**64, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


class TokenTable:
    """The table, opened for reading; ``classes`` maps code points to the classes of ``pretokens``."""

    def __init__(self, fingerprints: NDArray[np.uint16], class_runs: NDArray[np.uint32]) -> None:
        self._fingerprints = np.asarray(fingerprints)  # the same pages, without the cost of a memmap's own indexing
        starts, values = class_runs
        self.classes = np.repeat(values.astype(np.uint8), np.diff(starts.astype(np.int64), append=CODE_POINTS))
        self.classes[ord(BREAK_CHARACTER)] = BREAK
        self._powers, self._inverses = _powers(_BASE), _powers(pow(_BASE, -1, 2**64))

    def prefix_sums(self, points: Points) -> NDArray[np.uint64]:
        """What slices' hashes follow from, for at most 4,864 code points."""
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum((points + _ONE) * self._powers[: len(points)], out=sums[1:])
        return sums

    def hashes(self, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.uint64]:
        """The 64-bit hashes of slices."""
        mixed = (sums[ends] - sums[starts]) * self._inverses[starts]
        return (mixed ^ (mixed >> _FOLD)) * _SPREAD

    def holds(self, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.bool_]:
        """Which slices are tokens."""
        hashes = self.hashes(sums, starts, ends)
        fingerprints = hashes.astype(np.uint16)
        found: NDArray[np.bool_] = self._fingerprints[hashes >> _FIRST] == fingerprints
        found |= self._fingerprints[((hashes >> _SECOND) & _PLACE_MASK) + np.uint64(_PLACES)] == fingerprints
        return found


@cache
def token_table() -> TokenTable:
    """The shipped table, opened once in a process when it is first asked for.

    Raises:
        OSError: the package's data files are missing.
    """
    return TokenTable(np.load(FOLDER / FINGERPRINTS_FILE, mmap_mode="r"), np.load(FOLDER / CLASSES_FILE))
