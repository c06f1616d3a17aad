"""Single typing mistakes are undone."""

from __future__ import annotations

import pytest

from router_extproc.analysis.spelling import MOST_WORDS, Speller

RANKS = {"capital": 10, "france": 20, "write": 5, "white": 7, "pencil": 30}
SPELLER = Speller(RANKS)


@pytest.mark.parametrize("mistaken", ["captial", "capitl", "capittal", "capitel"])
def test_one_edit_is_undone(mistaken: str) -> None:
    """A swap, a loss, a doubling and a wrong letter lead back to the word."""
    assert SPELLER.corrections([mistaken]) == {mistaken: "capital"}


def test_the_commoner_word_wins() -> None:
    """Of two words as near, the commoner is meant."""
    assert SPELLER.corrections(["wrhite"]) == {"wrhite": "write"}


@pytest.mark.parametrize("word", ["cpitl", "frc", "café", "x1y2", "kubernetes"])
def test_what_is_not_near_stays(word: str) -> None:
    """Two edits, short words, other letters and unknown terms are left alone."""
    assert SPELLER.corrections([word]) == {}


def test_only_some_words_are_looked_up() -> None:
    """The work for one text is bounded."""
    words = [f"{letter}capital" for letter in "abcdefgh"]
    assert len(SPELLER.corrections(words)) == MOST_WORDS


def test_a_known_word_with_an_ending_is_no_mistake() -> None:
    """Plurals that the vocabulary lacks are words all the same."""
    assert not SPELLER.may_be_mistake("pencils")
    assert SPELLER.may_be_mistake("captial")
