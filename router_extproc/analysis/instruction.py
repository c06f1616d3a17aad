"""The hashed n-grams of a text's beginning and end: requests say there what they want, rarely in the middle.

Linear heads learn a weight for each bucket, so nothing here may change without training again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.ngrams import id_ngrams

# Buckets: 2^15. A head may use fewer: the low bits of a bucket are as well mixed as the others.
BITS = 15
ORDERS = 3
# Word pieces. An instruction stands before or after what it is about, and is rarely longer.
HEAD, TAIL = 96, 64
# Marks in the sequence of pieces, so that an n-gram can say "at the start" or "at the end": ids that BERT's vocabulary
# leaves unused.
_START, _GAP, _END = (np.array([mark], np.int32) for mark in (1, 2, 3))


def instruction_ngrams(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """The buckets, below 2^``BITS``, of the n-grams that occur, each once and in ascending order; none without ids."""
    if not len(ids):
        return np.zeros(0, np.int64)
    parts = (_START, ids[:HEAD], _GAP, ids[-TAIL:], _END) if len(ids) > HEAD + TAIL else (_START, ids, _END)
    sequence = np.concatenate(parts)
    return np.unique(id_ngrams(sequence, ORDERS, BITS))
