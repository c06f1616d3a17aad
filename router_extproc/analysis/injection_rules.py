"""What attacks on a model say in so many words, each rule with a name: it adds to the learned score and explains it.

Rules of this file
- Linear time: words are found by their hash in a sorted list, sequences by the next place at which a word stands. No
  regular expression can backtrack.
- All is read from folded bytes (``ngrams.folded``), so positions mean the same as everywhere else.
- The words are data: ``data/injection_rules.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.ngrams import Powers, Words, folded

RULES_FILE = Path(__file__).parent / "data" / "injection_rules.json"

# Characters that no reader sees: tags (with which text can be written invisibly), zero-width and direction marks.
# In UTF-8: U+E0000 to E007F, 200B, 202A to 202E, 2060, 2062 to 2064 and 2066 to 2069.
_invisible = re.compile(rb"\xf3\xa0[\x80\x81]|\xe2\x80[\x8b\xaa-\xae]|\xe2\x81[\xa0\xa2-\xa4\xa6-\xa9]").search
# One-letter words in a row: a word spelled out to get past a filter.
_SPELLED_OUT = 8
# The share of a text that repeats the word before it, or the one before that; and the words it takes to tell.
_REPEATED_SHARE, _REPEATED_AT_LEAST, _REPEATED_LETTERS = 0.3, 12, 3
# Words of two letters or figures in a row: bytes in hexadecimal.
_IN_PAIRS = 12
# Bytes of a word that no language has: Base64, hexadecimal and the like.
_ENCODED_WORD = 24

# The smallest byte with which an invisible character may begin.
_FIRST_OF_INVISIBLE = 0xE2
# Shifts a hash such that 16 bits of it remain.
_FIRST_BITS = np.uint64(48)

INVISIBLE, SPELLED_OUT, REPEATED, ENCODED = "invisible_text", "spelled_out", "repeated_words", "encoded_text"
IN_PAIRS = "spelled_in_pairs"


class Hit(NamedTuple):
    """A rule that a text meets, and the bytes where."""

    name: str
    start: int
    end: int


class _Sequence(NamedTuple):
    name: str
    steps: tuple[np.uint64, ...]
    within: int


class _Literal(NamedTuple):
    text: bytes
    name: str
    needs: int  # which bytes must occur, as a set of bits


class InjectionRules:
    """The rules, ready to be looked for."""

    def __init__(self, document: Mapping[str, object]) -> None:
        words: Mapping[str, str] = document["words"]  # type: ignore[assignment]  # our own file
        rules: Sequence[Mapping[str, object]] = document["rules"]  # type: ignore[assignment]
        literals: Sequence[Mapping[str, Sequence[str]]] = document["literals"]  # type: ignore[assignment]
        sets = sorted({str(step) for rule in rules for step in rule["steps"]})  # type: ignore[attr-defined]
        bits = {name: np.uint64(1 << place) for place, name in enumerate(sets)}
        self._lexicon, self._masks = _lexicon({name: words.get(name, name).split() for name in sets}, bits)
        self._likely = np.zeros(1 << 16, bool)
        self._likely[self._lexicon >> _FIRST_BITS] = True
        self._sequences = [
            _Sequence(str(rule["name"]), tuple(bits[step] for step in rule["steps"]), int(str(rule["within"])))  # type: ignore[attr-defined]
            for rule in rules
        ]
        self._literals = [
            _Literal(text, str(rule["name"]), _bytes_in(np.frombuffer(text, np.uint8)))
            for rule in literals
            for text in (folded(literal).tobytes() for literal in rule["any"])
        ]
        self._figure = Powers(1).words(folded("0")).hashes[0]
        shaped = (INVISIBLE, SPELLED_OUT, REPEATED, ENCODED, IN_PAIRS)
        self.names = tuple(
            sorted({*shaped, *(rule.name for rule in self._sequences), *(literal.name for literal in self._literals)})
        )

    @classmethod
    def load(cls, path: Path = RULES_FILE) -> InjectionRules:
        """The rules of a file.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no JSON.
        """
        return cls(json.loads(path.read_text("utf-8")))

    def find(self, data: NDArray[np.uint8], words: Words) -> list[Hit]:
        """Every rule that folded bytes meet, once, at its first place; `words` are those of the same bytes."""
        text = data.tobytes()
        hits = [*self._in_words(words), *self._in_shape(words, is_ascii=text.isascii()), *self._in_text(text, _bytes_in(data))]
        first: dict[str, Hit] = {}
        for hit in hits:
            first.setdefault(hit.name, hit)
        return list(first.values())

    def _in_words(self, words: Words) -> Iterable[Hit]:
        if not len(words.hashes):
            return
        # Nearly all words are told apart by their first bits; only the others are looked up.
        likely = np.flatnonzero(self._likely[words.hashes >> _FIRST_BITS])
        place = np.searchsorted(self._lexicon, words.hashes[likely])
        place[place == len(self._lexicon)] = 0
        is_known = self._lexicon[place] == words.hashes[likely]
        known = likely[is_known]
        if not len(known):
            return
        masks = self._masks[place[is_known]]
        present = np.bitwise_or.reduce(masks)
        for rule in self._sequences:
            if all(present & step for step in rule.steps):
                found = _sequence([known[masks & step != 0] for step in rule.steps], rule.within)
                if found is not None:
                    yield Hit(rule.name, int(words.starts[found[0]]), int(words.ends[found[1]]))

    def _in_text(self, text: bytes, present: int) -> Iterable[Hit]:
        for literal in self._literals:
            # A byte that does not occur saves the search: most texts hold no bracket, and hardly one all scripts.
            if literal.needs & ~present:
                continue
            start = text.find(literal.text)
            if start >= 0:
                yield Hit(literal.name, start, start + len(literal.text))
        if present >> _FIRST_OF_INVISIBLE:
            match = _invisible(text)
            if match:
                yield Hit(INVISIBLE, match.start(), match.end())

    def _in_shape(self, words: Words, *, is_ascii: bool) -> Iterable[Hit]:
        """Rules about how words look: spelled out letter by letter, repeated again and again, too long for a word."""
        lengths = words.ends - words.starts
        if len(lengths) >= _SPELLED_OUT:
            yield from _run(SPELLED_OUT, (lengths == 1) & (words.hashes != self._figure), _SPELLED_OUT, words)
        if len(lengths) >= _IN_PAIRS:
            yield from _run(IN_PAIRS, lengths == 2, _IN_PAIRS, words)  # noqa: PLR2004 - a byte's two figures
        if len(lengths) >= _REPEATED_AT_LEAST:
            hashes = words.hashes
            repeats = np.zeros(len(hashes), bool)
            for period in (1, 2, 3):
                repeats[period:] |= hashes[period:] == hashes[:-period]
            # The columns of a table repeat too: figures, which are all alike here, and short marks.
            repeats &= lengths >= _REPEATED_LETTERS
            if repeats.mean() >= _REPEATED_SHARE:
                first = int(np.argmax(repeats))
                yield Hit(REPEATED, int(words.starts[first]), int(words.ends[first]))
        # Beyond ASCII a letter is several bytes, and some scripts put no space between words.
        long = np.flatnonzero(lengths >= _ENCODED_WORD)
        if is_ascii and len(long):
            yield Hit(ENCODED, int(words.starts[long[0]]), int(words.ends[long[0]]))


def _run(name: str, flags: NDArray[np.bool_], count: int, words: Words) -> Iterable[Hit]:
    """The first `count` words in a row that are flagged."""
    if np.count_nonzero(flags) < count:
        return
    sums = np.concatenate([[0], np.cumsum(flags)])
    runs = sums[count:] - sums[:-count] == count
    if runs.any():
        first = int(np.argmax(runs))
        yield Hit(name, int(words.starts[first]), int(words.ends[first + count - 1]))


def _bytes_in(data: NDArray[np.uint8]) -> int:
    """The bytes that occur, as a set of bits."""
    present = np.zeros(256, bool)
    present[data] = True
    return int.from_bytes(np.packbits(present, bitorder="little").tobytes(), "little")


def _lexicon(sets: Mapping[str, Sequence[str]], bits: Mapping[str, np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    powers = Powers(256)
    masks: dict[int, int] = {}
    for name, words in sets.items():
        for word in words:
            for found in powers.words(folded(word)).hashes.tolist():
                masks[found] = masks.get(found, 0) | int(bits[name])
    ordered = sorted(masks)
    return np.array(ordered, np.uint64), np.array([masks[word] for word in ordered], np.uint64)


def _sequence(places: list[NDArray[np.intp]], within: int) -> tuple[int, int] | None:
    """The first and last word of the first sequence, each of its words at most `within` after the one before."""
    starts = ends = places[0]
    for following in places[1:]:
        nearest = np.searchsorted(following, ends, side="right")
        nearest[nearest == len(following)] = 0
        gaps = following[nearest] - ends
        fits = (gaps > 0) & (gaps <= within)
        starts, ends = starts[fits], following[nearest][fits]
        if not len(starts):
            return None
    return int(starts[0]), int(ends[0])
