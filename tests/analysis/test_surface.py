"""What can be counted in a text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.surface import FEATURES, surface_features

EXAM = "What is 2.5 kg in g?\nA. 25\nB. 250\nC. 2500\nAnswer:"


@given(st.text(max_size=300))
def test_every_text_has_finite_features(text: str) -> None:
    """Whatever the text, all features are finite, and shares lie between 0 and 1."""
    features = surface_features(text)
    assert features.values.shape == (len(FEATURES),)
    assert np.isfinite(features.values).all()
    assert all(0 <= features.named(name) <= 1 for name in ("letters", "capitals", "digits", "vowels", "foreign_bytes"))


def test_nothing_but_spaces_has_no_features() -> None:
    """A text of spaces is as good as none."""
    assert not surface_features(" \n\t ").values.any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lines", math.log1p(5)),
        ("options", math.log1p(3)),
        ("numeric_options", 1.0),
        ("stem", math.log1p(len("What is 2.5 kg in g?") + 1)),
        ("numbers", math.log1p(5)),
        ("decimals", math.log1p(1)),
        ("longest_number", 4.0),
        ("ends_in_colon", 1.0),
        ("ends_in_question", 0.0),
        ("characters", math.log1p(len(EXAM))),
    ],
)
def test_what_is_counted_in_an_exam_question(name: str, expected: float) -> None:
    """Lines, options and numbers of an exam question are counted as a reader would count them."""
    assert surface_features(EXAM).named(name) == pytest.approx(expected, rel=1e-5)


def test_variables_are_single_letters_and_articles_are_not() -> None:
    """Of "a", "I" and "x", only x may be a variable."""
    assert surface_features("I have a number x to find").named("single_letters") == pytest.approx(1 / 7)


def test_spaces_around_a_text_change_nothing() -> None:
    """Only what stands between the first and the last character counts."""
    assert np.array_equal(surface_features(f"\n  {EXAM} \n").values, surface_features(EXAM).values)


def test_layout_is_seen() -> None:
    """Bullets, numbered and indented lines, and blank ones are each counted."""
    features = surface_features("do:\n- this\n- that\n\n1. first\n2) second\n   more")
    counted = {
        name: round(math.expm1(features.named(name))) for name in ("bullets", "numbered", "blank_lines", "indented_lines")
    }
    assert counted == {"bullets": 2, "numbered": 2, "blank_lines": 1, "indented_lines": 1}


@pytest.mark.parametrize("times", [1, 40], ids=["short", "long"])
@given(text=st.text("aA zZ9.!?\n\t-é\u3000", max_size=80))
def test_words_are_counted_alike_in_short_and_long_texts(times: int, text: str) -> None:
    """Lengths of words are those that splitting at ASCII's white space gives, whether lists or arrays tell them."""
    text = (text + " of it") * times
    words = text.strip().encode().split()
    features = surface_features(text)
    expected = {
        "words": math.log1p(len(words)),
        "word_length": sum(map(len, words)) / len(words),
        "long_words": sum(len(word) >= 8 for word in words) / len(words),
        "very_long_words": sum(len(word) >= 12 for word in words) / len(words),
        "longest_word": math.log1p(max(map(len, words))),
        "capitalised_words": sum(word[:1].isupper() for word in words) / len(words),
        "single_letters": sum(word.isalpha() and len(word) == 1 and word not in b"aAI" for word in words) / len(words),
    }
    assert {name: features.named(name) for name in expected} == pytest.approx(expected, rel=1e-5)
