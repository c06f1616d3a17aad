"""Word pieces: the same ids as the usual library, for every character there is."""

from __future__ import annotations

import os
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.wordpiece import MAX_WORD_CHARACTERS, Vocabulary

tokenizers = pytest.importorskip("tokenizers")

_FILE = artefact_folder(os.environ) / "vocabulary.txt"
_vocabulary = Vocabulary.load(_FILE)
_library = tokenizers.BertWordPieceTokenizer(str(_FILE), lowercase=True)
# The library's tables are of an older Unicode: marks, punctuation and format characters that came later are letters to it.
_NEWER = {"Mn", "Po", "Ps", "Pe", "Pd", "Cf", "So", "Mc"}
_MOST_NEWER = 600


def _library_ids(text: str) -> list[int]:
    ids: list[int] = _library.encode(text, add_special_tokens=False).ids
    return ids


def test_every_character_is_cut_as_the_library_cuts_it() -> None:
    """Between letters, each code point gives the library's ids, but for a few marks newer than the library's tables."""
    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    # Unassigned ones are all alike: of the large planes without characters a sample will do.
    codes = [code for code in codes if code < 0x3400 or unicodedata.category(chr(code)) not in {"Cn", "Co"} or code % 97 == 0]
    # Of the tens of thousands of ideographs and syllables, every seventh.
    codes = [code for code in codes if unicodedata.category(chr(code)) != "Lo" or code < 0x3000 or code % 7 == 0]
    texts = [f"ab{chr(code)}cd" for code in codes]
    encoded = _library.encode_batch(texts, add_special_tokens=False)
    unequal = [code for code, text, ids in zip(codes, texts, encoded, strict=True) if _vocabulary.ids(text) != ids.ids]
    assert len(unequal) < _MOST_NEWER
    assert {unicodedata.category(chr(code)) for code in unequal} <= _NEWER
    assert min(unequal, default=0x600) >= 0x600


# Characters in daily use: Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, kana, ideographs, Hangul, punctuation, emoji.
_daily = st.text(
    st.one_of(
        st.characters(min_codepoint=0, max_codepoint=0x5FF, exclude_categories=["Cn", "Cs"]),
        st.characters(min_codepoint=0x3040, max_codepoint=0x30FF, exclude_categories=["Cn", "Cs"]),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5),
        st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3),
        st.sampled_from("،؟ابتثहिन्दी—“”…€₹😀🚀\u200b\u00ad\u3000\u2028"),
    ),
    max_size=60,
)


@given(_daily)
def test_any_text_in_daily_characters_gives_the_librarys_ids(text: str) -> None:
    """Foreign scripts, accents, control characters and spaces of all kinds change nothing about the ids."""
    assert _vocabulary.ids(text) == _library_ids(text)


@given(st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=200))
def test_the_fast_path_for_ascii_gives_the_librarys_ids(text: str) -> None:
    """ASCII with control characters and any punctuation is cut as the library cuts it."""
    assert _vocabulary.ids(text) == _library_ids(text)


@given(st.lists(st.sampled_from(["the", "unaffable", "transformerization", "zzxqy", "2024", "İstanbul", "ﬁne", "Σίσυφος"])))
def test_words_outside_the_vocabulary_are_pieced_as_the_library_does(words: list[str]) -> None:
    """The greedy pieces are the library's, word for word."""
    text = " ".join(words)
    assert _vocabulary.ids(text) == _library_ids(text)


def test_a_spelled_out_special_token_is_plain_text() -> None:
    """A user who writes [SEP] gets brackets and letters, not the separator."""
    separator = 102
    assert separator not in _vocabulary.ids("a [SEP] b")
    assert _vocabulary.split("a [SEP] b") == ["a", "[", "sep", "]", "b"]


def test_a_word_too_long_to_be_one_is_unknown() -> None:
    """Beyond a hundred characters a word is not looked at; up to there it is cut up."""
    unknown = 100
    assert _vocabulary.ids("q" * (MAX_WORD_CHARACTERS + 1)) == [unknown]
    assert unknown not in _vocabulary.ids("q" * MAX_WORD_CHARACTERS)


def test_lone_surrogates_are_left_out() -> None:
    """Half a character, as broken JSON escapes leave it, vanishes."""
    assert _vocabulary.ids("good\ud83d morning") == _vocabulary.ids("good morning")


def test_reading_tells_the_words_that_needed_pieces() -> None:
    """`pieced` holds, in order, the words that are no entry of the vocabulary."""
    read = _vocabulary.read("Please transmogrify the florbs, thanks")
    assert read.words == ["please", "transmogrify", "the", "florbs", ",", "thanks"]
    assert read.pieced == ["transmogrify", "florbs"]
    assert len(read.ids) > len(read.words)


def test_whole_words_are_of_plain_letters() -> None:
    """The list that teaching uses holds words, no pieces, marks or single letters."""
    words = _vocabulary.whole_words()
    assert "paris" in words
    assert all(word.isalpha() and word.isascii() and len(word) > 1 for word in words)


def test_a_vocabulary_without_unknown_is_refused() -> None:
    """A file that is no BERT vocabulary fails at load, not at the first odd word."""
    with pytest.raises(KeyError):
        Vocabulary(["a", "b"])
