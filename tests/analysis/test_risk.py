"""Risky domains: as people ask, whatever the length, and not in everyday requests that share their words."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.conversation import Piece, conversation_of
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.risk import NONE, RISKS, RiskHead, RiskScore, log_odds, risk_marks

_FOLDER = artefact_folder(os.environ)
_ENCODER = StaticEncoder.load(_FOLDER)
_HEAD = RiskHead.load(_FOLDER)
_CORPUS = json.loads((Path(__file__).parent / "corpora" / "risks.json").read_text("utf-8"))


def _score(text: str, *pieces: Piece) -> RiskScore:
    conversation = conversation_of(text)
    conversation = replace(conversation, pieces=(*pieces, *conversation.pieces))
    return _HEAD.score(TextEncoding(conversation.task, _ENCODER), None, conversation)


def test_risks_are_found_as_people_ask() -> None:
    """Of the held-out part of the corpus nine in ten are named some risk, and most the right one."""
    names = [(risk, _score(prompt).name) for risk, prompt in _CORPUS["held_out"] if risk != NONE]
    assert np.mean([name != NONE for _, name in names]) >= 0.9
    assert np.mean([name == risk for risk, name in names]) >= 0.85


def test_everyday_requests_are_left_alone() -> None:
    """Of requests that borrow risky words, or none, at most one in eight is named a risk."""
    names = [_score(prompt).name for risk, prompt in _CORPUS["held_out"] if risk == NONE]
    assert np.mean([name != NONE for name in names]) <= 0.125


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        ("aspirin with warfarin?", "medical"),
        ("Can my landlord evict me?", "legal"),
        ("Should I sell my bonds?", "financial"),
        ("I want to die", "self_harm"),
        ("I don\u2019t want to live", "self_harm"),
    ],
)
def test_a_short_question_is_as_risky_as_a_long_one(text: str, risk: str) -> None:
    """Risk is a floor whatever the length."""
    assert _score(text).name == risk


@pytest.mark.parametrize(
    "text",
    [
        "how to kill a process",
        "die casting",
        "the bank of a river",
        "What does the python law module do?",
        "hi",
        "What is the capital of France?",
        "Translate 'good morning' to Spanish",
        "write a python function that sorts a list",
    ],
)
def test_hard_negatives_named_by_the_task_have_no_risk(text: str) -> None:
    """Words that sound like a risk, and everyday requests that must stay cheap."""
    assert _score(text).name == NONE


@pytest.mark.parametrize(
    "text",
    [
        "why 401? AWS key AKIA0123456789ABCDEF",
        "-----BEGIN RSA PRIVATE KEY-----\nabc",
        'api_key = "0123456789abcdef0123"',
        "my SSN is 078-05-1120",
        "card 4111 1111 1111 1111 was declined",
        "For INTERNAL USE ONLY: the plan",
    ],
)
def test_secrets_are_found_literally(text: str) -> None:
    """Credentials and marks of secrecy make a request confidential."""
    assert _score(text).name == "confidential"


@pytest.mark.parametrize("text", ["How do API keys work?", "what is a social security number", "secret santa", "call 555-0101"])
def test_talking_about_secrets_is_no_secret(text: str) -> None:
    """A hint alone matches no pattern."""
    assert not risk_marks().is_confidential(text)


def test_a_document_beside_the_task_may_be_confidential() -> None:
    """The mark may stand in what is to be summarised; what the operator's own instructions say does not count."""
    document = "Strictly confidential. We will close the plant."
    assert _score("Make this shorter.", Piece(document, "document")).name == "confidential"
    assert _score("Make this shorter.", Piece(document, "system")).name == NONE


@given(st.text(max_size=300))
def test_any_text_has_a_probability_for_each_risk(text: str) -> None:
    """Whatever is sent: probabilities, and a name that exists."""
    score = _score(text)
    assert tuple(score.scores) == RISKS
    assert all(0 <= value <= 1 for value in score.scores.values())
    assert score.name in {*RISKS, NONE}


def test_log_odds_add_up_the_classes_of_a_group() -> None:
    """Three equal classes, two of them of the group: odds of two to one."""
    members = np.array([[1], [1], [0]], np.float32)
    assert log_odds(np.zeros((1, 3), np.float32), members)[0, 0] == pytest.approx(np.log(2), rel=1e-5)


@settings(deadline=2_000)  # milliseconds, of a machine that others use too
@given(st.text(alphabet="-eyJ._ BEGIN0123456789kKaAsS=:\"'", max_size=2000))
def test_patterns_take_linear_time_on_hostile_text(text: str) -> None:
    """Text made of what patterns look for is searched like any other; the bound of hypothesis on time holds."""
    risk_marks().credentials.search(text)
