"""Whether a task is to be thought through, by the shipped artefact, on prompts written for these tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.reasoning import PLAIN, has_known_form, read_reasoning
from router_extproc.policy.auto import LIKELY_REASONING, QUALITY, REASONING, Wish, read_wish
from router_extproc.registry.snapshot import AnalysisSettings, Tier

PROMPTS: dict[str, Any] = json.loads((Path(__file__).parent / "corpora" / "reasoning.json").read_text(encoding="utf-8"))
SETTINGS = AnalysisSettings()
ENCODER = StaticEncoder.load(artefact_folder(os.environ))


@pytest.fixture(scope="module")
def analyser() -> Analyser:
    """Over the shipped classifier."""
    return Analyser(Classifier.load(artefact_folder(os.environ)))


def wish(analyser: Analyser, prompt: str) -> Wish:
    """What `auto` asks for at the default quality and with the default floors."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": prompt}]}).encode()
    return read_wish(analyser.analyse(body), QUALITY, SETTINGS.risk_floor, SETTINGS.reasoning_tier)


def tier(analyser: Analyser, prompt: str) -> Tier:
    """The weakest that it asks for."""
    return wish(analyser, prompt).tier


def cheap(analyser: Analyser, prompts: list[str]) -> list[str]:
    """Those that go to the economy tier."""
    return [prompt for prompt in prompts if tier(analyser, prompt) == Tier.ECONOMY]


def test_what_is_to_be_thought_through_is_not_cheap(analyser: Analyser) -> None:
    """Of 118 short puzzles, proofs, statutes, diagnoses and problems none goes to the economy tier."""
    assert cheap(analyser, PROMPTS["thought"]) == []


def test_hard_prompts_in_everyday_words_are_not_cheap(analyser: Analyser) -> None:
    """Of 30 written to have none of the words one would expect at most one goes to the economy tier."""
    assert len(cheap(analyser, PROMPTS["plainly_worded"])) <= 1


def test_hard_prompts_that_nobody_looked_at_are_hardly_ever_cheap(analyser: Analyser) -> None:
    """Of 186 written before training, half of them in everyday words, at most one in a hundred goes to the economy tier."""
    found = cheap(analyser, PROMPTS["unseen_hard"])
    assert len(found) <= 0.01 * len(PROMPTS["unseen_hard"]), found


def test_everyday_prompts_go_to_the_economy_tier(analyser: Analyser) -> None:
    """Nine in ten at the least, the floors of risky domains and of reasoning included."""
    assert len(cheap(analyser, PROMPTS["everyday"])) >= 0.9 * len(PROMPTS["everyday"])


def test_everyday_prompts_that_nobody_looked_at_mostly_go_to_the_economy_tier(analyser: Analyser) -> None:
    """Of 162, seven of them foreign, 86 in 100; wording and kind of work keep at most 5 in 100 from it."""
    prompts = PROMPTS["unseen_everyday"]
    assert len(cheap(analyser, prompts)) >= 0.86 * len(prompts)
    found = [wish(analyser, prompt).because for prompt in prompts]
    assert found.count(REASONING) <= 0.05 * len(prompts)


def test_plain_questions_stay_cheap(analyser: Analyser) -> None:
    """Questions in the words of puzzles that ask for nothing of the kind are hardly ever taken for one."""
    found = []
    for prompt in PROMPTS["plain"]:
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": prompt}]}).encode()
        found.append((analyser.analyse(body).reasoning or 0) >= LIKELY_REASONING)
    assert sum(found) <= 0.05 * len(found)


@pytest.mark.parametrize(
    "words",
    [
        "a wolf , a goat and a boat",
        "one always lies , the other tells the truth",
        "if it rains , it is wet . it is wet . did it rain ?",
        "ann is taller than bob , bob is taller than cem . who is in the middle ?",
        "what is heavier , a ton of bricks or a ton of feathers ?",
        "toss a coin until you have seen heads twice",
        "two fathers and two sons share three apples",
        "this sentence is false . is it ?",
    ],
)
def test_a_known_form_is_enough(words: str) -> None:
    """Words that stand together in puzzles, and premises before a question, need no probability."""
    assert has_known_form(words, words.split())


@pytest.mark.parametrize(
    "prompt", ["Monty opens a doro with a goaat. Should you switch?", "Place eight quenes so that none attacks."]
)
def test_a_misspelt_puzzle_is_one(prompt: str) -> None:
    """Spelling mistakes are undone before the words of puzzles are looked for."""
    assert read_reasoning(TextEncoding(prompt, ENCODER), {"reasoning": 0.0, "math": 0.0}, 0.0, 0.0) == 1


@pytest.mark.parametrize(
    "formula",
    [
        "solve y'' = y",
        "is 2^67 - 1 prime",
        "dy/dx = x",
        "how many zeros has 100! in base 7",
        "\u222b x dx",
        "lim x",
        "is 91 prime?",
        "x to the power of x",
    ],
)
def test_a_formula_is_no_sum(formula: str) -> None:
    """Powers, derivatives, factorials and the signs of analysis are more than arithmetic."""
    assert has_known_form(formula, formula.split())


@pytest.mark.parametrize(
    "text", ["Congratulations on the 100! What a day", "add 17 and 25", "i'm here, it's 5 o'clock", "is amazon prime free?"]
)
def test_a_sum_is_plain(text: str) -> None:
    """Mathematics that the routing score holds for plain asks for no reasoning, and no exclamation mark is a factorial."""
    assert read_reasoning(TextEncoding(text, ENCODER), {"reasoning": 0.1, "math": 1.0}, 0.0, PLAIN - 0.01) == 0


def test_the_words_of_a_puzzle_in_a_long_text_are_chance() -> None:
    """A story with a wolf, a goat and a boat is no puzzle."""
    words = ["wolf", "goat", "boat", *["word"] * 150]
    assert not has_known_form(" ".join(words), words)
    assert has_known_form(" ".join(words[:3]), words[:3])


def test_plain_words_may_ask_for_thought() -> None:
    """Wording counts by itself, whatever kind of work it is and however easy it looks, but not that of a long text."""
    assert read_reasoning(TextEncoding("Why is the night dark?", ENCODER), {}, 0.8, 0.0) == 0.8
    assert read_reasoning(TextEncoding("The night was dark. " * 60, ENCODER), {}, 0.8, 0.0) == 0


@given(st.text(), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_is_a_likelihood(text: str, reasoning: float, math: float, thought: float, needs_strong: float) -> None:
    """Whatever is read, the result lies between 0 and 1."""
    scores = {"reasoning": reasoning, "math": math}
    assert 0 <= read_reasoning(TextEncoding(text, ENCODER), scores, thought, needs_strong) <= 1
