"""Text is cut exactly where o200k_base's published pattern cuts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.exact_pretokens import exact_pretokens
from tests.crafted_texts import TEXTS
from tests.exact_tokens import PATTERN

CORPUS = json.loads((Path(__file__).parent / "corpora" / "tokens.json").read_text("utf-8"))
# What the pattern treats each in its own way, and letters of every class.
PARTS = [
    *" \t\n\r/!?('_-=09½٣①aZbжЖΩªʰ中한ไมê\u0301\u0345\u200d\ufe0fǅ\u017f\x00\x1c\x85\xa0\u2003\u2028\u3000😀\ue000",
    *("'s", "'S", "'\u017f", "'LL", "'t", "'re", "  ", "\r\n", "word", "getHTTP", "don't", "//"),
]


@pytest.mark.parametrize("name", TEXTS)
def test_crafted_texts_are_cut_by_the_pattern(name: str) -> None:
    """Whatever was thought of to get around it."""
    found = exact_pretokens(TEXTS[name])
    assert found is None or found == PATTERN.findall(TEXTS[name])


def test_ordinary_texts_are_cut_by_the_pattern() -> None:
    """Prose in thirty languages, code and data: every one, and none is given up."""
    for sample in CORPUS:
        assert exact_pretokens(sample["text"]) == PATTERN.findall(sample["text"]), sample["kind"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PARTS), max_size=24).map("".join))
def test_any_mixture_is_cut_by_the_pattern(text: str) -> None:
    """Blanks, line ends, marks, endings and letters of all classes in any order."""
    assert exact_pretokens(text) == PATTERN.findall(text)


@pytest.mark.parametrize("text", ["a\u0378b", "a\ud800b", "\U000e0fff"])
def test_what_unicode_does_not_know_is_given_up(text: str) -> None:
    """A character that is not assigned may be a letter to a newer tokenizer; a lone surrogate is no character."""
    assert exact_pretokens(text) is None


def test_new_emoji_are_symbols() -> None:
    """Where only symbols are assigned, one that this Python does not know yet is one."""
    assert exact_pretokens("so \U0001fae8\U0001faff!") == ["so", " \U0001fae8\U0001faff!"]
