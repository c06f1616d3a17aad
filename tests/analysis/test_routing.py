"""How strong a model a text needs, by the shipped artefact, on prompts written for these tests."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_extproc.analysis.doubts import FOREIGN
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.language import detect_language
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.routing import RoutingHead, RoutingScore
from router_extproc.analysis.surface import surface_features
from router_extproc.policy.auto import QUALITY

PROMPTS: dict[str, Any] = json.loads((Path(__file__).parent / "corpora" / "routing.json").read_text(encoding="utf-8"))
ECONOMY, STANDARD, PREMIUM = range(3)


class Reader:
    """The shipped head, over plain texts."""

    def __init__(self) -> None:
        folder = artefact_folder(os.environ)
        self._encoder, self._head = StaticEncoder.load(folder), RoutingHead.load(folder)

    def score(self, text: str) -> RoutingScore:
        """As the service reads a prompt of one message."""
        encoding = TextEncoding(text, self._encoder)
        return self._head.score(encoding, surface_features(encoding.text), detect_language(text).code)

    def tier(self, text: str) -> int:
        """What `auto` asks for at the default quality."""
        adequacy = self.score(text).adequacy
        return next((tier for tier, enough in enumerate(adequacy) if enough >= QUALITY), PREMIUM)


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Loaded once."""
    return Reader()


@pytest.mark.parametrize(
    "prompt", ["What is the capital of France?", "hi", "Translate 'good morning' to Spanish", "thank you", "What's 6 times 9?"]
)
def test_the_plainest_prompts_are_cheap(reader: Reader, prompt: str) -> None:
    """A greeting, a fact, a phrase to translate go to the economy tier without a doubt."""
    assert reader.tier(prompt) == ECONOMY
    assert reader.score(prompt).unsure == ()


@pytest.mark.parametrize(
    "prompt",
    [
        "Dear team,\nwhat is the capital of France?",
        "Explain this:\n```css\n.a { color: red; }\n```",
        "Rephrase:\n\nThe shop is closed.",
        "Wow! Where is that?",
        "\n\nhi",
        "I\u2019m bored, what\u2019s up?",
        "Write a caption \U0001f334\u2600\ufe0f for my photo",
    ],
)
def test_how_a_plain_prompt_is_laid_out_makes_it_no_dearer(reader: Reader, prompt: str) -> None:
    """Neither a heading or greeting before it, nor curly quotes and emojis in it."""
    assert reader.tier(prompt) == ECONOMY
    assert reader.score(prompt).unsure == ()


@pytest.mark.parametrize("hostile", ["\n", "\n ", ".\n", "! ", "?\n\n"])
@pytest.mark.timeout(5)
def test_a_text_of_ends_of_sentences_is_read_in_time(reader: Reader, hostile: str) -> None:
    """Thousands of line feeds after a prompt, with or without a word behind them, are no way to keep a worker busy."""
    for text in (f"hi{hostile * 12_000}", f"hi{hostile * 12_000} x"):
        reader.score(text)


def test_a_doubt_about_a_beginning_is_told_where_it_decides(reader: Reader) -> None:
    """A sentence of gibberish before a plain question is why a stronger model is asked for."""
    score = reader.score("Xqzt vrrb zzpl. What is the capital of France?")
    assert (score.unsure, score.needs_strong > 1 - QUALITY) == (("gibberish",), True)


def test_everyday_prompts_are_cheap(reader: Reader) -> None:
    """Nineteen in twenty everyday prompts go to the economy tier, and none to the premium one."""
    tiers = [reader.tier(prompt) for prompt in PROMPTS["easy"]]
    assert tiers.count(ECONOMY) >= 0.95 * len(tiers)
    assert PREMIUM not in tiers


@pytest.mark.parametrize("prompt", PROMPTS["hard"])
def test_hard_prompts_are_never_cheap_however_short(reader: Reader, prompt: str) -> None:
    """Graduate physics, proofs, statutes, diagnoses and logic puzzles of one line need more than the economy tier."""
    assert reader.tier(prompt) > ECONOMY


PROOFS = [
    "Show that Q is not complete.",
    "Show that e is irrational",
    "Show that every tree has two leaves.",
    "Let G be finite. Show that the centre of G is normal.",
    "State the theorem, and show that the product of compact spaces is compact.",
    "Show that a^2 + b^2 >= 2ab.",
]


@pytest.mark.parametrize("prompt", PROOFS)
def test_a_proof_needs_no_word_of_experts(reader: Reader, prompt: str) -> None:
    """Who is to show that something is so is to prove it, however short and plain the statement."""
    assert reader.tier(prompt) > ECONOMY


@pytest.mark.parametrize(
    "prompt",
    [
        "Show that photo again",
        "Show that you care about the customer.",
        "Can you show that on the map?",
        "Show that table as CSV",
    ],
)
def test_what_only_sounds_like_a_proof_stays_cheap(reader: Reader, prompt: str) -> None:
    """To show something to somebody is no proof."""
    assert reader.tier(prompt) == ECONOMY


@pytest.mark.parametrize(("clean", "mistyped"), PROMPTS["typos"])
def test_typing_mistakes_make_nothing_cheaper(reader: Reader, clean: str, mistyped: str) -> None:
    """A misspelt prompt scores at least what it scores without mistakes."""
    assert reader.score(mistyped).needs_strong >= reader.score(clean).needs_strong


@pytest.mark.parametrize("kind", ["easy", "hard"])
def test_foreign_prompts_are_no_cheaper_than_their_english_twin(reader: Reader, kind: str) -> None:
    """In each of twenty languages a short prompt asks for at least as much, and says why."""
    twins = dict(PROMPTS["foreign"][kind])
    english = reader.score(twins.pop("en")).needs_strong
    scores = {language: reader.score(text) for language, text in twins.items()}
    assert len(scores) > 19
    assert [language for language, score in scores.items() if score.needs_strong < english] == []
    assert [language for language, score in scores.items() if FOREIGN not in score.unsure] == []


@pytest.mark.parametrize("prompt", PROMPTS["gibberish"])
def test_gibberish_is_not_cheap_and_says_so(reader: Reader, prompt: str) -> None:
    """What is not understood asks upwards."""
    assert reader.tier(prompt) > ECONOMY
    assert reader.score(prompt).unsure


@pytest.mark.parametrize("growing", PROMPTS["growing"])
def test_a_further_step_or_constraint_never_lowers_the_score(reader: Reader, growing: list[str]) -> None:
    """Each longer version of a request needs at least as strong a model as the one before."""
    scores = [reader.score(text).needs_strong for text in growing]
    assert all(longer >= shorter for shorter, longer in pairwise(scores))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.text(max_size=200))
def test_every_text_has_a_score_that_agrees_with_itself(reader: Reader, text: str) -> None:
    """Whatever the text: probabilities, ascending by tier, and complexity follows from them."""
    score = reader.score(text)
    economy, standard, premium = score.adequacy
    assert 0 <= economy <= standard <= premium <= 1
    assert score.needs_strong == 1 - economy
    assert score.complexity == round(10 * score.needs_strong)
    assert 0 <= score.verifiable <= 1


def test_complexity_follows_needs_strong(reader: Reader) -> None:
    """A prompt that needs more is at least as complex."""
    scores = sorted(
        (reader.score(prompt) for prompt in (*PROMPTS["easy"], *PROMPTS["hard"])), key=lambda score: score.needs_strong
    )
    assert all(one.complexity <= two.complexity for one, two in pairwise(scores))
    assert scores[0].complexity <= 1
    assert scores[-1].complexity >= 7


def test_checkable_work_is_told_from_taste(reader: Reader) -> None:
    """Calculations and code can be checked, stories and advice cannot."""
    checkable = [
        reader.score(text).verifiable for text in ("Solve 3x + 5 = 20 for x.", "Write a function that reverses a list in C.")
    ]
    taste = [
        reader.score(text).verifiable for text in ("Write a story about an old oak tree.", "Give me tips for a good party.")
    ]
    assert min(checkable) > max(taste)


def test_a_long_document_with_a_simple_request_is_not_the_hardest(reader: Reader) -> None:
    """Length alone does not make a summary premium work."""
    article = "The town council met on Tuesday to discuss the new library. Residents said the old building was too small. " * 12
    assert reader.tier(f"Article: {article}\n\nSummarize this article in two sentences.") < PREMIUM
