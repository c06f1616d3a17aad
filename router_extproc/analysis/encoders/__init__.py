"""Encoders: texts in, unit vectors out, behind one interface.

`static` (shipped, microseconds) adds up one vector a word piece; `minilm` (extra `minilm`, milliseconds) is a small
transformer, for semantic routes and caches where its price pays. Vectors of different encoders do not compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Encoder"]


class Encoder(Protocol):
    """What turns texts into vectors."""

    name: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One L2-normalised row of `dimensions` for each text; a text without words is the zero vector."""
        ...
