"""Whether a text is understood at all; what is not asks for a stronger model (DESIGN: unsure means upwards).

The encoder knows English. A foreign text, random letters, a word or two without a request, or a subject unlike anything in
training may look easy to it and be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.surface import SurfaceFeatures

FOREIGN, GIBBERISH, MISSPELT, UNFAMILIAR, TOO_SHORT = "foreign", "gibberish", "misspelt", "unfamiliar", "too_short"
DOUBTS = (FOREIGN, GIBBERISH, MISSPELT, UNFAMILIAR, TOO_SHORT)
# Share of the bytes above 127 from which a text is not English whatever its language; quotes and accents stay below.
_FOREIGN_BYTES = 0.2
# Share of unknown words: from here on mistakes, and from here on no words at all.
_MISSPELT, _GIBBERISH = 0.25, 0.6
_NO_DEMAND = float("-inf")


class Doubt(NamedTuple):
    """Why a text is not understood, and the least demand that stands for it."""

    reasons: tuple[str, ...]
    demand: float


class Doubts:
    """Reads ``Doubt`` from a text."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._centres: NDArray[np.float32] = arrays["centres"]  # of the training texts' vectors, unit length
        self._familiar = float(arrays["familiar"])  # the least cosine to the nearest of them
        # The least demand for each of DOUBTS.
        self._floors = dict(zip(DOUBTS, arrays["floors"].tolist(), strict=True))

    def of(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> Doubt:
        """What is doubtful about a text."""
        reasons = tuple(self._reasons(encoding, surface, language))
        return Doubt(reasons, max((self._floors[reason] for reason in reasons), default=_NO_DEMAND))

    def _reasons(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> list[str]:
        if (language or "en") != "en" or surface.named("foreign_bytes") > _FOREIGN_BYTES:
            return [FOREIGN]
        unknown = encoding.unknown_share
        if unknown > _GIBBERISH or not any(map(str.isalpha, encoding.words)):
            return [GIBBERISH]
        reasons = [MISSPELT] if unknown > _MISSPELT else []
        if float((self._centres @ encoding.vector).max()) < self._familiar:
            reasons.append(UNFAMILIAR)
        return reasons
