"""What sequences of letters and words say about languages: weights of 45 languages that share a script with others.

``scripts/build_language_table.py`` writes the table; its sources stand there. Workers share its pages.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.slice_hashes import Indices, SliceHasher

FOLDER = Path(__file__).parent / "data"
LANGUAGES_FILE, KEYS_FILE, WEIGHTS_FILE = "languages.json", "language_keys.npy", "language_weights.npy"

# Code points that are looked at, separators included.
LONGEST = 1_024
# One step of a weight, in natural logarithms of odds.
STEP = 1 / 16
_KEY_SHIFT = np.uint64(32)


class Description(msgspec.Struct, frozen=True):
    """Languages by script with their priors, and English words in a row."""

    scripts: dict[str, dict[str, float]]
    english: str = ""


class LanguageTable(SliceHasher):
    """The table, opened for reading.

    Attributes:
        languages: ISO 639-1 codes in the order of columns.
        scripts: for each script that several languages share, its columns as a slice.
        priors: what speaks for a language before its text is seen, log odds.
        english: words of English that no other language in Latin letters uses.
    """

    def __init__(self, described: Description, keys: NDArray[np.uint32], weights: NDArray[np.int8]) -> None:
        super().__init__(LONGEST)
        self._keys, self._weights = np.asarray(keys), np.asarray(weights)
        self.languages: list[str] = []
        self.scripts: dict[str, slice] = {}
        priors: list[float] = []
        for script, languages in described.scripts.items():
            self.scripts[script] = slice(len(priors), len(priors) + len(languages))
            self.languages += languages
            priors += languages.values()
        self.priors = np.array(priors, np.float32)
        self.english = frozenset(described.english.split())

    def key(self, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.uint32]:
        """The keys of slices."""
        return (self.hashes(sums, starts, ends) >> _KEY_SHIFT).astype(np.uint32)

    def evidence(
        self, sums: NDArray[np.uint64], starts: Indices, ends: Indices, groups: NDArray[np.intp], count: int
    ) -> NDArray[np.float32]:
        """The summed weights of the slices of each of `count` groups: float32 [count, languages], log odds."""
        keys = self.key(sums, starts, ends)
        places = np.searchsorted(self._keys, keys)
        places[places == len(self._keys)] = 0
        found = self._keys[places] == keys
        belongs = np.equal.outer(np.arange(count), groups[found]).astype(np.float32)
        evidence: NDArray[np.float32] = belongs @ self._weights[places[found]].astype(np.float32)
        return evidence * np.float32(STEP)


@cache
def language_table() -> LanguageTable:
    """The shipped table, opened once in a process when it is first asked for.

    Raises:
        OSError: the package's data files are missing.
    """
    described = msgspec.json.decode((FOLDER / LANGUAGES_FILE).read_bytes(), type=Description)
    return LanguageTable(described, np.load(FOLDER / KEYS_FILE, mmap_mode="r"), np.load(FOLDER / WEIGHTS_FILE, mmap_mode="r"))
