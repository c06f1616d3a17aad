"""Why a text is not understood."""

from __future__ import annotations

import os

import numpy as np
import pytest

from router_extproc.analysis.doubts import DOUBTS, NO_DEMAND, NO_DOUBT, Doubt, Doubts
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.routing import ROUTING_FILE
from router_extproc.analysis.surface import surface_features


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    """The shipped one."""
    return StaticEncoder.load(artefact_folder(os.environ))


@pytest.fixture(scope="module")
def doubts() -> Doubts:
    """The shipped ones."""
    with np.load(artefact_folder(os.environ) / ROUTING_FILE) as stored:
        return Doubts({name: stored[name] for name in stored.files})


def found(doubts: Doubts, encoder: StaticEncoder, text: str, language: str | None = None) -> Doubt:
    """What is doubtful about a text."""
    encoding = TextEncoding(text, encoder)
    return doubts.of(encoding, surface_features(encoding.text), language)


@pytest.mark.parametrize(
    ("text", "language", "reasons"),
    [
        ("What is the capital of France?", "en", ()),
        ("What is the capital of France?", None, ()),
        ("Explain the naïve café rule, s'il vous plaît, in English.", "en", ()),
        ("hello", None, ()),
        ("12 + 7", None, ()),
        ("Bonjour, comment allez-vous ?", None, ("foreign",)),
        ("Wer hat die Oper geschrieben?", None, ("foreign",)),
        ("What is the capital of France?", "fr", ("foreign",)),
        ("今日の天気は", None, ("foreign",)),
        ("What\u2019s new?", "en", ()),
        ("\u201cWhere do you live?\u201d \u2013 he asked\u2026", "en", ()),
        ("thanks \U0001f64f\U0001f64f", None, ()),
        ("What does \U0001f643 mean?", "en", ()),
        ("да \U0001f64f\U0001f64f\U0001f64f", None, ("foreign",)),
        ("\U0001f44d", None, ("too_short",)),
        ("qzxv wkjh plmnq", "en", ("gibberish",)),
        ("Kubernetes vs Docker?", None, ()),
        ("Redis or Memcached?", None, ()),
        ("mountain", None, ("too_short",)),
    ],
)
def test_each_doubt_has_its_sign(
    doubts: Doubts, encoder: StaticEncoder, text: str, language: str | None, reasons: tuple[str, ...]
) -> None:
    """English is understood, with curly quotes and emojis too; foreign, random and lone words are not."""
    assert found(doubts, encoder, text, language).reasons == reasons


def test_without_a_doubt_nothing_is_asked_for(doubts: Doubts, encoder: StaticEncoder) -> None:
    """A text that is understood has no floor, and one that is foreign a higher one than one that is short."""
    clear, short, foreign = (found(doubts, encoder, text).demand for text in ("What is a dog?", "mountain", "今日の天気は"))
    assert clear == NO_DEMAND < short < foreign


def test_half_of_the_words_mistyped_is_misspelt(doubts: Doubts, encoder: StaticEncoder) -> None:
    """Many unknown words among known ones are mistakes."""
    assert "misspelt" in found(doubts, encoder, "Pleese explan the qwestion of the moning in a simpel way", "en").reasons
    assert "misspelt" in DOUBTS


@pytest.mark.parametrize("text", ["Rephrase:", "Dear team,", "Bonjour.", "#", ""])
def test_a_few_words_before_a_text_are_no_doubt(doubts: Doubts, encoder: StaticEncoder, text: str) -> None:
    """What a heading or a greeting leaves open is said by what follows."""
    encoding = TextEncoding(text, encoder)
    assert doubts.of(encoding, surface_features(text), None, is_beginning=True) == NO_DOUBT


def test_a_beginning_without_a_word_of_sense_is_doubtful(doubts: Doubts, encoder: StaticEncoder) -> None:
    """A sentence before others that nobody understands is as doubtful as alone."""
    encoding = TextEncoding("qzxv wkjh plmnq.", encoder)
    assert doubts.of(encoding, surface_features(encoding.text), "en", is_beginning=True).reasons == ("gibberish",)
