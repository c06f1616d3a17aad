"""Which two tokens of o200k_base merge into which third: the tokenizer itself, as two megabytes that all workers share.

``scripts/build_merge_table.py`` writes the table from the published vocabulary (OpenAI's tiktoken, MIT). Nothing is taken for
a merge that is none: each entry holds both tokens whole.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.token_table import FOLDER

MERGES_FILE, BYTES_FILE = "o200k_base_merges.npy", "o200k_base_bytes.npy"
# A token's number, which is its rank as well, has so many bits; an entry is left, right and merged token.
TOKEN_BITS = 18
# Each pair is at one of three places of one table (cuckoo hashing), which is three quarters full.
PLACE_BITS = 18
EMPTY = 2**64 - 1
NO_MERGE = 1 << TOKEN_BITS

Tokens = NDArray[np.int64]

_TOKEN_MASK = np.uint64((1 << TOKEN_BITS) - 1)
_BITS = np.uint64(TOKEN_BITS)
# Multiplying spreads: odd and otherwise arbitrary.
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_PLACE_SHIFTS = (np.uint64(46), np.uint64(28), np.uint64(10))
_PLACE_MASK = np.uint64((1 << PLACE_BITS) - 1)


def pair_keys(left: Tokens, right: Tokens) -> NDArray[np.uint64]:
    """One number for each pair of tokens."""
    return (left.astype(np.uint64) << _BITS) | right.astype(np.uint64)


def places(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], ...]:
    """The three places at which each pair may stand."""
    mixed = keys * _SPREAD
    return tuple((mixed >> shift) & _PLACE_MASK for shift in _PLACE_SHIFTS)


class MergeTable:
    """The table, opened for reading; ``bytes_`` are the tokens of the 256 single bytes."""

    def __init__(self, merges: NDArray[np.uint64], bytes_: NDArray[np.uint32]) -> None:
        self._merges = np.asarray(merges)  # the same pages, without the cost of a memmap's own indexing
        self.bytes_ = np.asarray(bytes_).astype(np.int64)

    def merged(self, left: Tokens, right: Tokens) -> Tokens:
        """The token that each pair merges into, which is also its rank: lower ones merge first; ``NO_MERGE`` for none."""
        keys = pair_keys(left, right)
        found = np.full(len(keys), NO_MERGE, np.int64)
        for place in places(keys):
            entries = self._merges[place]
            hits = (entries >> _BITS) == keys
            found[hits] = (entries[hits] & _TOKEN_MASK).astype(np.int64)
        return found


@cache
def merge_table() -> MergeTable:
    """The shipped table, opened once in a process when it is first asked for.

    Raises:
        OSError: the package's data files are missing.
    """
    return MergeTable(np.load(FOLDER / MERGES_FILE, mmap_mode="r"), np.load(FOLDER / BYTES_FILE))
