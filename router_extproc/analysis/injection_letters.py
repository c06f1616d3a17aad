"""Letters drawn as something else, put back: look-alikes of other alphabets, styled and enclosed letters, marks on letters.

Rules of this file
- Text that is plain ASCII is never handed in.
- Only what no orthography does is undone: look-alikes in words that mix alphabets, marks that no composed letter has, accents
  on the very words of attacks. Greek, Russian and Vietnamese prose comes back as it was.

Sources: Unicode 16, compatibility decompositions (NFKC); look-alikes and words: ``data/letters.json``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

LETTERS_FILE = Path(__file__).parent / "data" / "letters.json"

# Blocks with letters in another style: letterlike symbols, enclosed, mathematical, full width, squared.
_STYLED_BLOCKS = ((0x2100, 0x2150), (0x249C, 0x24EA), (0xFF21, 0xFF5B), (0x1D400, 0x1D7CC), (0x1F110, 0x1F14A))
# Alphabets that are not decomposed: white and black letters in circles and squares, and regional indicators.
_ALPHABETS = (0x1F150, 0x1F170, 0x1F1E6)
_STYLED = re.compile(
    "[\u2100-\u214f\u249c-\u24e9\uff21-\uff5a\U0001d400-\U0001d7cb\U0001f110-\U0001f189\U0001f1e6-\U0001f1ff"
    "\u1d00-\u1d22\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\ua730\ua731]"
)
_OTHER_ALPHABETS = "\u0370-\u0373\u0376-\u03ff\u0400-\u052f\u0531-\u0587"
_OTHER = re.compile(f"[{_OTHER_ALPHABETS}]")
_MIXED = re.compile(f"[A-Za-z][{_OTHER_ALPHABETS}]|[{_OTHER_ALPHABETS}][A-Za-z]")
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_MARKED = re.compile(f"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]{_MARKS.pattern}")
_ACCENT = re.compile("[\u00c0-\u024f]")
# Fewer may be a formula, a brand or a slip.
_FEWEST = 4
_FEWEST_WORDS = 2


class _Letters(NamedTuple):
    """What the data file says: the plain letter of each look-alike and of each styled letter, and the words of attacks."""

    look_alikes: Mapping[int, str]
    styles: Mapping[int, str]
    attacking: frozenset[str]


def plain_letters(text: str) -> str:
    """A text with its letters as they are read; the same text where nothing is disguised."""
    # The characters that occur are few: a look at these alone saves most texts the searches.
    occurring = "".join(set(text))
    if _STYLED.search(occurring) and len(_STYLED.findall(text)) >= _FEWEST:
        text = text.translate(_letters().styles)
    if _OTHER.search(occurring) and _MIXED.search(text):
        text = _WORD.sub(lambda match: _of_one_alphabet(match[0]), text)
    has_marks = _MARKS.search(occurring) is not None
    composed = unicodedata.normalize("NFC", text) if has_marks else text
    if (has_marks and len(_MARKED.findall(composed)) >= _FEWEST) or (_ACCENT.search(occurring) and _hides_words(composed)):
        return _without_marks(composed)
    return text


@cache
def _letters() -> _Letters:
    document: Mapping[str, str] = json.loads(LETTERS_FILE.read_text("utf-8"))
    alikes: Mapping[str, str] = document["look_alikes"]  # type: ignore[assignment]  # our own file
    look_alikes = {ord(alike): plain for plain, those in alikes.items() for alike in those}
    styles = {ord(small): chr(ord("a") + place) for place, small in enumerate(document["small_capitals"])}
    for first in _ALPHABETS:
        styles |= {first + place: chr(ord("a") + place) for place in range(26)}
    for first, end in _STYLED_BLOCKS:
        for code in range(first, end):
            decomposed = unicodedata.normalize("NFKC", chr(code)).strip("()")
            if len(decomposed) == 1 and decomposed.isascii() and decomposed.isalpha():
                styles[code] = decomposed
    return _Letters(look_alikes, styles, frozenset(document["attacking"].split()))


def _of_one_alphabet(word: str) -> str:
    """A word with look-alikes put back, if it mixes alphabets or holds nothing else."""
    if word.isascii():
        return word
    plain = word.translate(_letters().look_alikes)
    # A letter by itself is a name: an angle, a root, an alphabet's first.
    return plain if (plain.isascii() and len(word) > 1) or _MIXED.search(word) else word


def _hides_words(text: str) -> bool:
    """Whether accents stand on words that have none, and that attacks are made of."""
    accented = {word for word in text.split() if not word.isascii()}
    bare = {word for words in accented for word in _WORD.findall(_without_marks(words).lower())}
    return len(bare & _letters().attacking) >= _FEWEST_WORDS


def _without_marks(text: str) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFD", text))
