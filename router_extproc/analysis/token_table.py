"""Which strings are tokens of o200k_base: the vocabulary as fingerprints in one megabyte that all workers share.

``scripts/build_token_table.py`` writes the table from the published vocabulary (OpenAI's tiktoken, MIT); two of a
hundred thousand strings that are no tokens are taken for one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.pretokens import BREAK, BREAK_CHARACTER, CODE_POINTS
from router_extproc.analysis.slice_hashes import Indices, SliceHasher

FOLDER = Path(__file__).parent / "data"
FINGERPRINTS_FILE, CLASSES_FILE = "o200k_base.npy", "character_classes.npy"

# Code points of the longest text that can be hashed at once.
LONGEST = 4_864
# Either half of the table has a place for every token (cuckoo hashing).
PLACE_BITS = 18
_PLACES = 1 << PLACE_BITS
_FIRST_SHIFT, _SECOND_SHIFT = 64 - PLACE_BITS, 64 - 2 * PLACE_BITS
_FIRST, _SECOND = np.uint64(_FIRST_SHIFT), np.uint64(_SECOND_SHIFT)
_FINGERPRINT_MASK = 0xFFFF
_PLACE_MASK = np.uint64(_PLACES - 1)


class TokenTable(SliceHasher):
    """The table, opened for reading; ``classes`` maps code points to the classes of ``pretokens``."""

    def __init__(self, fingerprints: NDArray[np.uint16], class_runs: NDArray[np.uint32]) -> None:
        self._fingerprints = np.asarray(fingerprints)  # the same pages, without the cost of a memmap's own indexing
        self._at = self._fingerprints.data
        super().__init__(LONGEST)
        starts, values = class_runs
        self.classes = np.repeat(values.astype(np.uint8), np.diff(starts.astype(np.int64), append=CODE_POINTS))
        self.classes[ord(BREAK_CHARACTER)] = BREAK

    def holds(self, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.bool_]:
        """Which slices are tokens."""
        hashes = self.hashes(sums, starts, ends)
        fingerprints = hashes.astype(np.uint16)
        found: NDArray[np.bool_] = self._fingerprints[hashes >> _FIRST] == fingerprints
        found |= self._fingerprints[((hashes >> _SECOND) & _PLACE_MASK) + np.uint64(_PLACES)] == fingerprints
        return found

    def holds_hash(self, hashed: int) -> bool:
        """Whether one hash is that of a token."""
        fingerprint = hashed & _FINGERPRINT_MASK
        if self._at[hashed >> _FIRST_SHIFT] == fingerprint:
            return True
        return bool(self._at[(hashed >> _SECOND_SHIFT & _PLACES - 1) + _PLACES] == fingerprint)


@cache
def token_table() -> TokenTable:
    """The shipped table, opened once in a process when it is first asked for.

    Raises:
        OSError: the package's data files are missing.
    """
    return TokenTable(np.load(FOLDER / FINGERPRINTS_FILE, mmap_mode="r"), np.load(FOLDER / CLASSES_FILE))
