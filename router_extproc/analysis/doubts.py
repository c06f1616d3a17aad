"""Whether a text is understood at all; what is not asks for a stronger model.

The encoder knows English. A foreign text, random letters, a word or two without a request, or a subject unlike anything in
training may look easy to it and be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.surface import SurfaceFeatures

FOREIGN, GIBBERISH, MISSPELT, UNFAMILIAR, TOO_SHORT = "foreign", "gibberish", "misspelt", "unfamiliar", "too_short"
DOUBTS = (FOREIGN, GIBBERISH, MISSPELT, UNFAMILIAR, TOO_SHORT)
# Share of the bytes above 127 from which a text is not English whatever its language; accents stay below.
_FOREIGN_BYTES = 0.2
# Of those bytes only letters and digits count: a phone writes curly quotes, and emojis are no language.
_foreign_letters = re.compile(r"[^\W\x00-\x7f]+").findall
_ascii = re.compile(r"[\x00-\x7f]+").findall
# Words of which one is enough to be foreign, if there are no more English ones.
_FOREIGN_WORDS_COUNT = 1.5
# Shares of unknown words: from here on mistakes, and from here on no words at all.
_MISSPELT, _GIBBERISH = 0.34, 0.6
# So many words may be a request for anything.
_FEW_WORDS = 2
# Only of short texts is an unusual vector a sign of something unusual: that of a long one is near the middle.
_SHORT_TEXT = 40
NO_DEMAND = float("-inf")


class Doubt(NamedTuple):
    """Why a text is not understood, and the least demand that stands for it."""

    reasons: tuple[str, ...]
    demand: float


NO_DOUBT = Doubt((), NO_DEMAND)


class Doubts:
    """Reads ``Doubt`` from a text."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._centres: NDArray[np.float32] = arrays["centres"]  # of the training texts' vectors, unit length
        self._familiar = float(arrays["familiar"])  # the least cosine to the nearest of them
        # The least demand for each of DOUBTS.
        self._floors = dict(zip(DOUBTS, arrays["floors"].tolist(), strict=True))
        self._english = frozenset(arrays["english"].tolist())
        self._foreign = frozenset(arrays["foreign"].tolist())
        self._short_talk = frozenset(arrays["short_talk"].tolist())
        self._names = frozenset(arrays["names"].tolist())  # words that are no mistakes, though they are in pieces

    def of(
        self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None, *, is_beginning: bool = False
    ) -> Doubt:
        """What is doubtful about a text. A beginning of few words is not: what follows says what they are about."""
        if is_beginning and encoding.alphabetic <= _FEW_WORDS:
            return NO_DOUBT
        reasons = tuple(self._reasons(encoding, surface, language))
        return Doubt(reasons, max((self._floors[reason] for reason in reasons), default=NO_DEMAND))

    def _reasons(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> Iterator[str]:
        words = encoding.words
        if self.is_foreign(encoding, surface, language):
            yield FOREIGN
            return
        alphabetic = encoding.alphabetic
        unknown = encoding.unknown_share
        if unknown > _MISSPELT:
            unknown = sum(word.isalpha() and word not in self._names for word in encoding.pieced) / alphabetic
        if alphabetic and unknown > _GIBBERISH:
            yield GIBBERISH
            return
        if unknown > _MISSPELT:
            yield MISSPELT
        if alphabetic <= _FEW_WORDS:
            if not self._is_request(words):
                yield TOO_SHORT
        elif len(words) <= _SHORT_TEXT and float((self._centres @ encoding.vector).max()) < self._familiar:
            yield UNFAMILIAR

    def is_foreign(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> bool:
        """Whether a text is not English, as far as its language, its letters or its few words tell."""
        if surface.named("foreign_bytes") > _FOREIGN_BYTES and _share_of_foreign_letters(encoding.text) > _FOREIGN_BYTES:
            return True
        if language is not None:
            return language != "en"
        foreign = sum(word in self._foreign for word in encoding.words)
        return foreign > 0 and foreign * _FOREIGN_WORDS_COUNT >= sum(word in self._english for word in encoding.words)

    def _is_request(self, words: list[str]) -> bool:
        """Whether a text of few words is small talk, or holds a sum."""
        return not self._short_talk.isdisjoint(words) or any(map(str.isdigit, words))


def _share_of_foreign_letters(text: str) -> float:
    """How much of a text, in bytes and without other signs above 127, are letters and digits that are not ASCII."""
    foreign = sum(len(run.encode("utf-8", "replace")) for run in _foreign_letters(text))
    return foreign / (foreign + sum(map(len, _ascii(text)))) if foreign else 0.0
