"""Which of many phrases stand in a text: one pass of an Aho-Corasick automaton, linear in the text however many there are.

A phrase counts where its words stand as words, whatever their case, and means what it says: not within a longer word, not
in code (between backticks), not where the same clause denies it ("this is not legal advice").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

import ahocorasick

_spaces = re.compile(r"\s+")
_code = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_clause_end = re.compile(r"[.,;:!?()\n]|\bbut\b")
_word = re.compile(r"[\w']+")
_NEGATIONS = frozenset({"not", "no", "never", "without", "neither", "nor", "nothing", "cannot"})
_CONTRACTED = "n't"
# "Not only legal advice" affirms.
_AFFIRMING = frozenset({"only", "just", "merely", "simply"})
# How many words may stand between a negation and what it denies: "not any kind of legal advice".
_REACH = 4
# A clause that begins further away than this (characters) does not matter: the words in reach are nearer.
_LOOK_BACK = 120

# Scripts that put no spaces between words: there every place is a boundary.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")


class Keywords:
    """Phrases, compiled."""

    def __init__(self, automaton: ahocorasick.Automaton | None) -> None:
        self._automaton = automaton

    @classmethod
    def compile(cls, phrases: Collection[str]) -> Keywords:
        """The phrases as an automaton; case, accents' encoding and the kind of white space do not matter.

        Raises:
            ValueError: a phrase holds nothing but white space.
        """
        spellings: dict[str, list[str]] = {}
        for phrase in phrases:
            spelling = _normal(phrase).strip()
            if not spelling:
                raise ValueError("a keyword must not be empty")
            spellings.setdefault(spelling, []).append(phrase)
        if not spellings:
            return cls(None)
        automaton = ahocorasick.Automaton()
        for spelling, written in spellings.items():
            automaton.add_word(spelling, (len(spelling), tuple(dict.fromkeys(written))))
        automaton.make_automaton()
        return cls(automaton)

    def find(self, text: str) -> frozenset[str]:
        """The phrases, as they were written, that stand in the text."""
        if "`" in text:
            text = _code.sub("`", text)
        text = _normal(text)
        return frozenset(phrase for phrases in self._standing(text) for phrase in phrases)

    def _standing(self, text: str) -> Iterator[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for last, (length, phrases) in self._automaton.iter(text) if self._automaton is not None else ():
            start = last - length + 1
            if phrases not in found and _is_whole(text, start, last + 1) and not _is_denied(text, start):
                found.add(phrases)
                yield phrases


def _normal(text: str) -> str:
    return _spaces.sub(" ", unicodedata.normalize("NFKC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether the characters around do not make the phrase a part of a longer word."""
    return _is_boundary(text, start) and _is_boundary(text, end)


def _is_boundary(text: str, place: int) -> bool:
    if place in (0, len(text)):
        return True
    before, after = text[place - 1], text[place]
    return not (_joins(before) and _joins(after)) or _is_unspaced(before) or _is_unspaced(after)


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.combining(character) > 0


def _is_unspaced(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(_UNSPACED)


def _is_denied(text: str, start: int) -> bool:
    """Whether a negation stands shortly before, in the same clause."""
    before = text[max(0, start - _LOOK_BACK) : start]
    words = _word.findall(_clause_end.split(before)[-1])[-_REACH - 1 :]
    for place, word in enumerate(words):
        if word in _NEGATIONS or word.endswith(_CONTRACTED):
            following = words[place + 1] if place + 1 < len(words) else ""
            if following not in _AFFIRMING:
                return True
    return False
