"""Undoes single typing mistakes: a word the vocabulary lacks becomes the commonest word that is one edit away.

Used only to see whether the text as it was meant asks for more than the text as it stands; names and technical terms that
happen to be near a common word do no harm there.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

_ENDINGS = ("s", "es", "d", "ed", "r", "er", "ing", "ly")
_LETTERS = string.ascii_lowercase
_SHORTEST, _LONGEST = 3, 12
# Of shorter words too many are one edit from another.
_LONG_ENOUGH = 5
# Looking a word up costs some fifty microseconds; a text with more mistakes is doubtful anyway.
MOST_WORDS = 3


def corrections(unknown: list[str], ranks: Mapping[str, int]) -> dict[str, str]:
    """What each of the first unknown words was meant to be, as far as that is found.

    Args:
        unknown: lower-case words that are not in the vocabulary.
        ranks: the vocabulary, the commonest words with the lowest numbers.
    """
    looked_up = [word for word in dict.fromkeys(unknown) if _can_be_undone(word)][:MOST_WORDS]
    near = {word: ranks.keys() & _one_edit_away(word) for word in looked_up}
    return {word: min(candidates, key=ranks.__getitem__) for word, candidates in near.items() if candidates}


def may_be_mistake(word: str, ranks: Mapping[str, int]) -> bool:
    """Whether an unknown word of letters is not just a known one with an ending."""
    return word.isalpha() and not any(word.endswith(ending) and word.removesuffix(ending) in ranks for ending in _ENDINGS)


def _can_be_undone(word: str) -> bool:
    return _SHORTEST <= len(word) <= _LONGEST and word.isascii() and word.isalpha()


def _one_edit_away(word: str) -> set[str]:
    """All words of one swap of neighbours; of longer words also those of one deletion, replacement or insertion."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    near = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts[:-2]}
    if len(word) < _LONG_ENOUGH:
        return near
    near |= {head + tail[1:] for head, tail in cuts}
    near |= {head + letter + tail[1:] for head, tail in cuts[:-1] for letter in _LETTERS}
    near |= {head + letter + tail for head, tail in cuts for letter in _LETTERS}
    return near
