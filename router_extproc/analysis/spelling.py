"""Undoes single typing mistakes: a word the vocabulary lacks becomes the commonest word that is one edit away.

Used only to see whether the text as it was meant asks for more than the text as it stands; names and technical terms that
happen to be near a common word do no harm there.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping

_SHORTEST, _LONGEST = 4, 14
# Looking a word up costs some tens of microseconds; a text with more mistakes is doubtful anyway.
MOST_WORDS = 6


def corrections(unknown: list[str], ranks: Mapping[str, int]) -> dict[str, str]:
    """What each of the first unknown words was meant to be, as far as that is found.

    Args:
        unknown: lower-case words that are not in the vocabulary.
        ranks: the vocabulary, the commonest words with the lowest numbers.
    """
    found: dict[str, str] = {}
    for word in dict.fromkeys(unknown):
        if _SHORTEST <= len(word) <= _LONGEST and word.isascii() and word.isalpha():
            near = [candidate for candidate in _one_edit_away(word) if candidate in ranks]
            if near:
                found[word] = min(near, key=ranks.__getitem__)
        if len(found) == MOST_WORDS:
            break
    return found


def _one_edit_away(word: str) -> Iterator[str]:
    """All words of one deletion, swap of neighbours, replacement or insertion."""
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        if tail:
            yield head + tail[1:]
            yield from (head + letter + tail[1:] for letter in string.ascii_lowercase)
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        yield from (head + letter + tail for letter in string.ascii_lowercase)
