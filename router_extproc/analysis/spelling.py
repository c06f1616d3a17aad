"""Undoes single typing mistakes: a word the vocabulary lacks becomes the commonest word that is one edit away.

Used only to see whether the text as it was meant asks for more than the text as it stands; names and technical terms that
happen to be near a common word do no harm there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import ahocorasick

_ENDINGS = ("s", "es", "d", "ed", "r", "er", "ing", "ly")
_SHORTEST, _LONGEST = 3, 12
# Of shorter words too many are one edit from another.
_LONG_ENOUGH = 5
# A text with more mistakes is doubtful anyway.
MOST_WORDS = 3
_ANY = "?"


class Speller:
    """A vocabulary as a trie, in which words with one letter left open are found along the branches that exist."""

    def __init__(self, ranks: Mapping[str, int]) -> None:
        """``ranks`` are the words, the commonest with the lowest numbers; those of other than small letters are left out."""
        self._ranks = ranks
        self._trie = ahocorasick.Automaton()
        for word in ranks:
            if len(word) <= _LONGEST + 1 and _is_plain(word):
                self._trie.add_word(word, 0)

    def corrections(self, unknown: list[str]) -> dict[str, str]:
        """What each of the first unknown (lower-case) words was meant to be, as far as that is found."""
        looked_up = [word for word in dict.fromkeys(unknown) if _SHORTEST <= len(word) <= _LONGEST and _is_plain(word)]
        near = {word: self._ranks.keys() & self._one_edit_away(word) for word in looked_up[:MOST_WORDS]}
        return {word: min(candidates, key=self._ranks.__getitem__) for word, candidates in near.items() if candidates}

    def may_be_mistake(self, word: str) -> bool:
        """Whether an unknown word of letters is not just a known one with an ending."""
        return word.isalpha() and not any(
            word.endswith(ending) and word.removesuffix(ending) in self._ranks for ending in _ENDINGS
        )

    def _one_edit_away(self, word: str) -> Iterator[str]:
        """Words of one swap of neighbours; of longer words also those of one deletion, replacement or insertion.

        Deletions and swaps need not be words.
        """
        trie, exact = self._trie, ahocorasick.MATCH_EXACT_LENGTH
        for place in range(len(word) + 1):
            head, tail, after = word[:place], word[place:], word[place + 1 :]
            if place and not trie.match(head):
                return  # no word begins so, and whatever is changed from here on leaves the beginning
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
            if len(word) < _LONG_ENOUGH:
                continue
            yield from trie.keys(head + _ANY + tail, _ANY, exact)
            if tail:
                yield head + after
                yield from trie.keys(head + _ANY + after, _ANY, exact)


def _is_plain(word: str) -> bool:
    """Whether a lower-case word is of the letters a to z."""
    return word.isascii() and word.isalpha()
