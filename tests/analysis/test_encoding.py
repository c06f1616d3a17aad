"""One text as the heads see it."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder.load(artefact_folder(os.environ))


def test_the_parts_belong_to_one_text(encoder: StaticEncoder) -> None:
    """Words, ids and vector are those of the text given."""
    encoding = TextEncoding("Translate 'Good Morning' to French.", encoder)
    assert encoding.text == "Translate 'Good Morning' to French."
    assert encoding.lower == "translate 'good morning' to french."
    assert encoding.words == ["translate", "'", "good", "morning", "'", "to", "french", "."]
    assert encoding.ids.tolist() == encoder.vocabulary.ids(encoding.text)
    assert encoding.ids.dtype == np.int32
    np.testing.assert_allclose(encoding.vector, encoder.encode([encoding.text])[0])


def test_nothing_is_computed_before_it_is_asked_for(encoder: StaticEncoder) -> None:
    """A rule that needs the text alone pays for no tokenizer."""
    encoding = TextEncoding("hello", encoder)
    assert "_read" not in vars(encoding)
    assert encoding.lower == "hello"
    assert "_read" not in vars(encoding)
    assert encoding.vector is encoding.vector


def test_truncation_is_told(encoder: StaticEncoder) -> None:
    """Of a long text head and tail are encoded, and the encoding says so."""
    encoding = TextEncoding("word " * 10_000 + "the end", encoder)
    assert encoding.truncated
    assert encoding.words[-2:] == ["the", "end"]
    assert not TextEncoding("word", encoder).truncated


@pytest.mark.parametrize("text", ["", " \n", "\x00\ufffd"])
def test_a_text_without_words_is_no_error(encoder: StaticEncoder, text: str) -> None:
    """Emptiness has the zero vector and no unknown words."""
    encoding = TextEncoding(text, encoder)
    assert encoding.words == []
    assert not encoding.vector.any()
    assert encoding.unknown_share == 0.0


def test_unknown_words_rise_with_misspelling_foreignness_and_noise(encoder: StaticEncoder) -> None:
    """English prose has few words outside the vocabulary; typos, other languages and random letters have many."""
    share = {
        text: TextEncoding(text, encoder).unknown_share
        for text in (
            "What is the capital of France, and how many people live there?",
            "Waht si teh captial of Frnace, adn hwo mnay poeple lvie thre?",
            "Wie heißt die Hauptstadt von Frankreich und wie viele Menschen wohnen dort?",
            "xqzv bnmpt lkjhg qwrtp zxcvv mnbvc",
        )
    }
    clean, typos, german, noise = share.values()
    assert clean < 0.1
    assert min(typos, german) > 0.3
    assert noise == 1.0


def test_numbers_are_not_unknown_words(encoder: StaticEncoder) -> None:
    """Digits need pieces too, but say nothing about spelling."""
    assert TextEncoding("add 83749 and 99183", encoder).unknown_share == 0.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.text(max_size=60),
    last=st.sampled_from("a.!?\u0301 ß。"),
    space=st.sampled_from(["\n", " ", "\x0b", "\x1c ", "\u2028", "\u3000", "\x85"]),
    after=st.text(max_size=60),
)
def test_a_beginning_is_read_as_a_text_of_its_own(
    encoder: StaticEncoder, before: str, last: str, space: str, after: str
) -> None:
    """Where white space follows a mark, or a line ends, the beginning has the words and pieces of the same text alone."""
    if last not in ".!?":
        space = "\n"
    whole = TextEncoding(before + last + space + after, encoder)
    beginning = whole.beginning(len(before + last))
    alone = TextEncoding(before + last, encoder)
    assert (beginning.text, beginning.words, beginning.pieced) == (alone.text, alone.words, alone.pieced)
    assert beginning.ids.tolist() == alone.ids.tolist()
    assert beginning.unknown_share == alone.unknown_share
