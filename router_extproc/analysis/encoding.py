"""One text as the heads of the classifier see it, each part computed once and only when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.instruction import instruction_ngrams
from router_extproc.analysis.window import head_and_tail
from router_extproc.analysis.wordpiece import Vocabulary, Words


class TextEncoding:
    """A text, its words, word pieces and vector.

    Attributes:
        text: what is looked at, in its own case: head and tail of a long text.
        truncated: whether the middle of a long text was left out.
    """

    def __init__(self, text: str, encoder: StaticEncoder) -> None:
        self.text, self.truncated = head_and_tail(text)
        self._encoder = encoder

    @cached_property
    def lower(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def _read(self) -> Words:
        return self._encoder.vocabulary.read(self.text)

    @property
    def words(self) -> list[str]:
        """Words and punctuation marks, lower case and without accents, in order."""
        return self._read.words

    @property
    def pieced(self) -> list[str]:
        """The words, in order, that the vocabulary does not hold whole."""
        return self._read.pieced

    @property
    def vocabulary(self) -> Vocabulary:
        """The encoder's word pieces."""
        return self._encoder.vocabulary

    def beginning(self, length: int) -> TextEncoding:
        """The first ``length`` characters as a text of their own; a line ends there, or a mark with white space after it."""
        shorter = TextEncoding(self.text[:length], self._encoder)
        # No word reaches across, so the rest has words of its own: only it, usually the shorter part, is read again.
        shorter._read = self._read.without(self._encoder.vocabulary.read(self.text[length:]))
        shorter.ids = self.ids[: len(shorter._read.ids)]
        return shorter

    def read_vectors_of(self, beginnings: Sequence[TextEncoding]) -> None:
        """Works out the vectors of beginnings of this text together, in less time than one by one."""
        vectors = self._encoder.vectors_of_beginnings(self.ids, [len(beginning.ids) for beginning in beginnings])
        for beginning, vector in zip(beginnings, vectors, strict=True):
            beginning.vector = vector

    def respelt(self, meant: Mapping[str, str]) -> TextEncoding:
        """The same text with some of its (lower-case) words replaced, also where they are written with a capital."""
        text = self.text
        for word, other in meant.items():
            text = text.replace(word, other).replace(word.capitalize(), other.capitalize())
        return TextEncoding(text, self._encoder)

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        """The ids of the word pieces, in order, without [CLS] and [SEP]."""
        return np.array(self._read.ids, np.int32)

    @cached_property
    def alphabetic(self) -> int:
        """How many words are of letters alone."""
        return sum(map(str.isalpha, self.words))

    @cached_property
    def unknown_share(self) -> float:
        """The share, 0 to 1, of the alphabetic words that the vocabulary does not hold whole; 0 where there are none.

        English prose has 0.0 to 0.15; misspelt, foreign (of alphabets) and random text more. Chinese and Japanese have
        little: there each character counts as a word.
        """
        unknown = sum(map(str.isalpha, self._read.pieced)) if self._read.pieced else 0
        return unknown / self.alphabetic if unknown else 0.0

    @cached_property
    def vector(self) -> NDArray[np.float32]:
        """What the text means: float32 [384] of the static encoder, L2-normalised, zeros where there are no words."""
        return self._encoder.vector(self.ids)

    @cached_property
    def ngrams(self) -> NDArray[np.int64]:
        """The hashed n-grams of word pieces at the beginning and the end, each once: see ``instruction``."""
        return instruction_ngrams(self.ids)

    def vector_of(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """What a part of the text means, given its word pieces; as ``vector``."""
        return self._encoder.vector(ids)
