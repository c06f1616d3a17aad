"""The language of requests: twenty languages with their near relatives, mixtures, and texts too short to tell."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.language import detect_language

CORPORA = Path(__file__).parent / "corpora"
SENTENCES = {file.stem: file.read_text("utf-8").splitlines() for file in sorted((CORPORA / "languages").glob("*.txt"))}
MORE = json.loads((CORPORA / "languages_more.json").read_text("utf-8"))
MIXED = json.loads((CORPORA / "languages_mixed.json").read_text("utf-8"))
KNOWN = {*SENTENCES, *MORE}


def share_of(code: str, sentences: list[str]) -> float:
    return sum(detect_language(sentence).code == code for sentence in sentences) / len(sentences)


def test_twenty_languages_are_told_apart() -> None:
    """Of 20 x 50 short sentences at least 97 % are of the right language; not knowing counts as wrong."""
    assert {code: len(sentences) for code, sentences in SENTENCES.items()} == dict.fromkeys(SENTENCES, 50)
    assert len(SENTENCES) == 20
    assert sum(share_of(code, sentences) for code, sentences in SENTENCES.items()) / 20 >= 0.97


@pytest.mark.parametrize("code", SENTENCES)
def test_no_language_is_left_behind(code: str) -> None:
    """Even Danish beside Norwegian and Slovak beside Czech are right at least 17 times of 20."""
    assert share_of(code, SENTENCES[code]) >= 0.85


@pytest.mark.parametrize("code", MORE)
def test_further_languages_are_known(code: str) -> None:
    """Other scripts, and more languages in Latin letters."""
    assert share_of(code, MORE[code]) == 1


@pytest.mark.parametrize(("text", "code", "mixed"), MIXED)
def test_the_request_counts_and_not_its_subject(text: str, code: str, mixed: list[str]) -> None:
    """A request about a text in another language is in the language of the request; the other is told."""
    found = detect_language(text)
    assert (found.code, list(found.mixed)) == (code, mixed)


@pytest.mark.parametrize("text", ["", " ", "12345", "?!", "ok", "taxi", "a", "asdkjh qwelkj zxcmn", "=> {} ;"])
def test_too_little_text_says_nothing(text: str) -> None:
    """No letters, a word that many languages share, or none at all: no language."""
    assert detect_language(text).code is None


def test_confidence_is_a_probability() -> None:
    """Of the answers given with 95 % confidence or more at least 98 % are right."""
    found = [(detect_language(sentence), code) for code, sentences in SENTENCES.items() for sentence in sentences]
    sure = [language.code == code for language, code in found if language.confidence >= 0.95]
    assert len(sure) > 700
    assert sum(sure) / len(sure) >= 0.98


def test_plain_english_is_nothing_else() -> None:
    """The short way to English is taken by most English sentences and by no other."""
    plain = [code for code, sentences in SENTENCES.items() for text in sentences if detect_language(text).confidence == 0.99]
    assert plain.count("en") >= 30
    assert set(plain) == {"en"}


@pytest.mark.parametrize("signs", ["→ {}", "{} — {}", "• {}\n• {}", "“{}” 🚀️ {}", "{} ² ≥ 3 {}"])
def test_signs_are_no_language(signs: str) -> None:
    """Arrows, dashes, bullets, quotation marks and emojis leave plain English plain."""
    sentence = "What is the best way to learn the piano if you have never played before?"
    assert detect_language(signs.format(sentence, sentence)) == detect_language(sentence) == ("en", 0.99, ())


@pytest.mark.parametrize("code", ["en", "de", "es", "pl", "ru", "tr"])
def test_typos_hardly_matter(code: str) -> None:
    """With one letter in twelve missing at least 9 of 10 sentences are still told."""
    misspelt = ["".join(letter for place, letter in enumerate(sentence) if place % 12 != 7) for sentence in SENTENCES[code]]
    assert share_of(code, misspelt) >= 0.9


def test_a_long_text_is_judged_by_its_ends() -> None:
    """The instruction before or after a long foreign text counts, and no length takes long."""
    article = " ".join(SENTENCES["de"] * 400)
    found = detect_language(f"Please summarise the following article in three sentences.\n\n{article}")
    assert (found.code, found.mixed) == ("en", ("de",))
    started = time.process_time()
    detect_language(article)
    assert time.process_time() - started < 0.02


@settings(max_examples=200)
@given(st.text(max_size=900))
def test_any_text_has_an_answer(text: str) -> None:
    """Whatever the text, a code of two letters or None, and a confidence between 0 and 1."""
    found = detect_language(text)
    assert found.code is None or len(found.code) == 2
    assert 0 <= found.confidence <= 1.001


@given(
    st.lists(
        st.sampled_from([*SENTENCES["en"][:20], "it's", "x_1", "3.5", ":", ". ", '"', "\n", "?\n", "!  ", "\t", "\x1c"]),
        max_size=6,
    ).map(" ".join),
)
def test_plain_texts_are_read_as_all_others(text: str) -> None:
    """A backslash at the end, which says nothing, has a text read the long way: the answer is the same."""
    assert detect_language(text[:300]) == detect_language(text[:300] + " \\")
