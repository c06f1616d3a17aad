"""How often words of certain classes stand in a text, and how rare its words are; from word pieces, whole arrays at a time.

The classes (verbs of proof, quantities, law, greetings, ...) are a data file of training; the artefact holds them as a row
of numbers for each of the few hundred pieces that belong to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

# After the counts of the classes, log(1 + n), come these. Ids of BERT's vocabulary are in order of frequency.
RARITY = (
    "rarity",  # mean log of the ids
    "rarest",  # log of the highest id
    "rare",  # share of ids above 8,000
    "very_rare",  # share of ids above 15,000
    "distinct",  # distinct ids, share
)
_RARE, _VERY_RARE = 8_000, 15_000


class WordClasses:
    """The classes of word pieces.

    Attributes:
        names: of the classes, then of ``RARITY``: the order of ``features``.
    """

    def __init__(self, classes: Sequence[str], row_of_piece: NDArray[np.int16], rows: NDArray[np.float32]) -> None:
        """``row_of_piece`` [vocabulary] says which of ``rows`` [n, classes] belongs to a piece; row 0 is all zero."""
        if rows.shape[1] != len(classes):
            raise ValueError(f"{len(classes)} classes of words need as many columns, found {rows.shape[1]}")
        self.names = (*classes, *RARITY)
        self._row_of_piece, self._rows = row_of_piece, rows
        ids = np.arange(len(row_of_piece))
        # What is added up of each piece beside its classes.
        self._rarity = np.stack([np.log(ids + 1), ids > _RARE, ids > _VERY_RARE], axis=1, dtype=np.float32)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> WordClasses:
        """The classes as ``arrays`` wrote them."""
        return cls([str(name) for name in arrays["word_classes"]], arrays["word_rows"], arrays["word_values"])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What an artefact stores."""
        classes = np.array(self.names[: -len(RARITY)])
        return {"word_classes": classes, "word_rows": self._row_of_piece, "word_values": self._rows}

    def features(self, texts: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Counts and rarity of the word pieces of each text, float32 [texts, len(names)]; zeros for one without words."""
        values = np.zeros((len(texts), len(self.names)), np.float32)
        filled = [place for place, ids in enumerate(texts) if len(ids)]
        if not filled:
            return values
        ids = np.concatenate(texts)
        sizes = np.array([[len(texts[place])] for place in filled], np.float32)
        starts = [0, *accumulate(len(texts[place]) for place in filled[:-1])]
        summed = np.add.reduceat(np.concatenate((self._rows[self._row_of_piece[ids]], self._rarity[ids]), axis=1), starts)
        classes = self._rows.shape[1]
        found = np.empty((len(filled), len(self.names)), np.float32)
        np.log1p(summed[:, :classes], out=found[:, :classes])
        found[:, classes] = summed[:, classes] / sizes[:, 0]
        found[:, classes + 1] = self._rarity[np.maximum.reduceat(ids, starts), 0]
        found[:, classes + 2 : classes + 4] = summed[:, classes + 1 :] / sizes
        found[:, classes + 4] = [len(set(texts[place].tolist())) / len(texts[place]) for place in filled]
        values[filled] = found
        return values
