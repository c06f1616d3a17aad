"""The n-grams of a text's beginning and end."""

from __future__ import annotations

import numpy as np

from router_extproc.analysis.instruction import BITS, HEAD, TAIL, instruction_ngrams


def _ids(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(numbers, np.int32)


def test_a_text_without_pieces_has_no_ngrams() -> None:
    """Emptiness says nothing, not even that it starts and ends."""
    assert not len(instruction_ngrams(_ids()))


def test_each_ngram_counts_once_and_fits_the_table() -> None:
    """A word said ten times is one piece of evidence, and no bucket lies beyond the table."""
    found = instruction_ngrams(_ids(*[2000, 2001] * 10))
    assert len(set(found.tolist())) == len(found)
    assert found.min() >= 0
    assert found.max() < 1 << BITS


def test_the_first_word_is_told_from_the_same_word_later() -> None:
    """A verb at the start is an order; in the middle it may be anything."""
    first = set(instruction_ngrams(_ids(3000, 4000, 5000)).tolist())
    later = set(instruction_ngrams(_ids(4000, 3000, 5000)).tolist())
    assert first - later
    assert first & later


def test_the_middle_of_a_long_text_is_not_read() -> None:
    """What stands between head and tail changes nothing, whatever its length."""
    head, tail = list(range(5000, 5000 + HEAD)), list(range(9000, 9000 + TAIL))
    one = instruction_ngrams(_ids(*head, *[7000] * 50, *tail))
    other = instruction_ngrams(_ids(*head, *[7777] * 500, *tail))
    assert one.tolist() == other.tolist()


def test_a_change_in_the_last_words_is_seen() -> None:
    """Requests end in their question."""
    body = [6000] * 400
    one, other = instruction_ngrams(_ids(*body, 3001)), instruction_ngrams(_ids(*body, 3002))
    assert one.tolist() != other.tolist()
