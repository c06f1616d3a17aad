"""Decontamination: what repeats an evaluation prompt is found, however it is dressed; what does not is left alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from router_extproc.training.data_cards import load_cards
from router_extproc.training.decontamination import (
    ContaminationError,
    EvaluationPrompts,
    check_texts,
    excluded_rows,
    find_by_meaning,
)
from tests.training_data import rows_or_skip

PROMPT = "A farmer has 17 sheep and sells all but 9 of them at the market in town. How many sheep does the farmer have left?"
EVALUATION = EvaluationPrompts([PROMPT, "Why is the sky blue?"])


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("WHY is the sky -- blue", "equal"),
        (f"Solve this. {PROMPT} Think step by step.", "runs"),
        (PROMPT.replace("market in town", "village fair"), "runs"),
        ("A farmer has 17 sheep and sells all but 9 of them at the market in town.", "runs"),
    ],
)
def test_a_repeated_prompt_is_found(text: str, test: str) -> None:
    """Other case and punctuation, words around it, a few words changed, a part of it: all repeat the prompt."""
    finding = EVALUATION.find(text)
    assert finding is not None
    assert finding.test == test


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sheep",
        "A farmer has a dog. How many legs does it have?",
        "Why is the sea blue and the sun so yellow today?",
        "How many sheep does the farmer need?",
    ],
)
def test_another_question_is_left_alone(text: str) -> None:
    """Sharing a topic or a turn of phrase is no repetition."""
    assert EVALUATION.find(text) is None


def test_meaning_is_compared_by_cosine() -> None:
    """A reworded prompt with a cosine above 0.90 is found, one at 0.89 is not."""
    angles = {"prompt": 1.0, "close": 0.91, "far": 0.89}

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[angles[text], np.sqrt(1 - angles[text] ** 2)] for text in texts], np.float32)

    found = find_by_meaning(["far", "close"], ["prompt"], vectors)
    assert [(finding.text, finding.prompt, finding.test) for finding in found] == [("close", "prompt", "meaning")]


def test_every_file_is_told_what_it_must_lose() -> None:
    """The result names each finding by its data file, once even if the row occurs twice."""
    found = excluded_rows({"category": ["Why is the sky blue", "Why is the sky blue", "Hello"], "paws": []}, EVALUATION, None)
    assert {name: [finding.text for finding in findings] for name, findings in found.items()} == {
        "category": ["Why is the sky blue"],
        "paws": [],
    }


def test_a_text_of_our_own_that_repeats_a_prompt_fails_loudly() -> None:
    """The package's own texts are put right by hand, so the error names file, text and prompt."""
    check_texts("templates.jsonl", ["Hello"], EVALUATION)
    with pytest.raises(ContaminationError, match=r"templates\.jsonl: 1 texts repeat.*Why is the sky blue"):
        check_texts("templates.jsonl", ["Hello", "why is the sky blue"], EVALUATION)


def test_the_training_questions_repeat_no_evaluation_prompt() -> None:
    """None of the files that teach difficulty shares a question with the files that judge it."""
    cards = load_cards()
    prompts = [row[cards[name].text] for name in ("eval_mmlu", "eval_gsm8k", "eval_mtbench") for row in rows_or_skip(name)]
    evaluation = EvaluationPrompts(prompts)
    for name in ("mmlupro", "gsm8k_steps", "arena_hard", "justeval", "category"):
        check_texts(name, [row[cards[name].text] for row in rows_or_skip(name)], evaluation)
