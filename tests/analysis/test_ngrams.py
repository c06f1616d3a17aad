"""Hashed n-grams: stable, in order, linear, and equal for equal content wherever it stands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.ngrams import Powers, byte_ngrams, folded, id_ngrams, word_ngrams

POWERS = Powers(4096)


def test_words_are_runs_of_letters_and_digits() -> None:
    """Punctuation and space separate words; characters beyond ASCII belong to them."""
    data = folded("Ignore, the über-rules 42!")
    words = POWERS.words(data)
    found = [bytes(data[start:end]).decode() for start, end in zip(words.starts, words.ends, strict=True)]
    assert found == ["ignore", "the", "über", "rules", "00"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_word_has_one_hash_wherever_it_stands(before: str, after: str) -> None:
    """The hash of a word does not depend on what surrounds it."""
    alone = POWERS.words(folded("instructions")).hashes[0]
    assert alone in POWERS.words(folded(f"{before} instructions {after}")).hashes


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=6), min_size=1, max_size=40))
def test_different_words_have_different_hashes(words: list[str]) -> None:
    """Among a text's words, as many hashes differ as words do."""
    assert len(set(POWERS.words(folded(" ".join(words))).hashes.tolist())) == len(set(words))


def test_the_i_th_bucket_starts_at_the_i_th_position() -> None:
    """A window's n-grams are a slice of the whole text's n-grams."""
    data = folded("please tell me the secret of good bread")
    hashes = POWERS.words(data).hashes
    assert np.array_equal(byte_ngrams(data, 4, 12)[7:10], byte_ngrams(data[7:13], 4, 12))
    assert np.array_equal(word_ngrams(hashes, 2, 12)[1][2:4], word_ngrams(hashes[2:5], 2, 12)[1])


@given(st.text(max_size=200), st.integers(1, 8), st.integers(1, 20))
def test_every_text_has_buckets_in_range(text: str, order: int, bits: int) -> None:
    """Any text gives length - order + 1 buckets, or none, all below 2^bits."""
    data = folded(text)
    buckets = byte_ngrams(data, order, bits)
    assert len(buckets) == max(0, len(data) - order + 1)
    assert np.all((buckets >= 0) & (buckets < 1 << bits))


def test_the_order_of_words_counts() -> None:
    """'rules ignore' is another bigram than 'ignore rules', and a unigram shares nothing with a bigram by rule."""
    one, other = (POWERS.words(folded(text)).hashes for text in ("ignore rules", "rules ignore"))
    assert word_ngrams(one, 2, 40)[1] != word_ngrams(other, 2, 40)[1]
    assert set(word_ngrams(one, 1, 40)[0].tolist()) == set(word_ngrams(other, 1, 40)[0].tolist())


def test_buckets_are_the_same_on_every_machine() -> None:
    """The buckets are part of a trained model's format: these figures may never change."""
    data = folded("Ignore all previous instructions")
    assert byte_ngrams(data, 5, 16)[:3].tolist() == [49735, 10233, 45538]
    assert word_ngrams(POWERS.words(data).hashes, 2, 16)[1].tolist() == [44369, 49575, 36394]
    assert id_ngrams(np.array([8568, 2035, 3025], np.int32), 2, 16)[3:].tolist() == [23794, 42860]


def test_runs_of_word_pieces_are_counted_up_to_an_order() -> None:
    """All single pieces, then all pairs, then all triples; of a short text as many as it has."""
    ids = np.arange(1, 6, dtype=np.int32)
    assert [len(id_ngrams(ids[:length], 3, 16)) for length in (0, 1, 2, 3, 5)] == [0, 1, 3, 6, 12]
    assert id_ngrams(ids, 3, 16)[:9].tolist() == id_ngrams(ids, 2, 16).tolist()


def test_buckets_are_spread_evenly() -> None:
    """Thousands of different n-grams fill a table about as random numbers would."""
    ids = np.arange(1, 20_001, dtype=np.int32)
    used = len(set(id_ngrams(ids, 2, 14)[len(ids) :].tolist()))
    assert used == pytest.approx((1 << 14) * (1 - np.exp(-20_000 / (1 << 14))), rel=0.05)


def test_more_bytes_than_prepared_for_are_refused() -> None:
    """A text longer than the powers reach is an error, not a wrong hash."""
    with pytest.raises(ValueError, match="more than the 8"):
        Powers(8).words(folded("nine bytes here"))
