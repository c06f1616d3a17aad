"""Keeps evaluation prompts out of training: what repeats one, in its words or in its meaning, is left out, and checked.

Three tests, each against every evaluation prompt: equal once case and punctuation are gone; most runs of five words in
common, in either direction (a question inside a longer text counts); sentence vectors with a cosine above 0.90. Data files
lose the rows found. The package's own texts must have none: there ``check_own_texts`` fails.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router_extproc.errors import TrainingError

# Runs of this many words; shorter texts are compared whole.
RUN = 5
# This share of the shorter text's runs in common makes two texts near-duplicates; fewer runs than this, which are eight
# words in a row, are a turn of phrase ("what are the main causes of").
COMMON, LEAST = 0.6, 4
# The bound that the data's study found no training question to cross.
COSINE = 0.90
_WORD = re.compile(r"\w+")
# One block of the product of all training with all evaluation vectors: 2,048 x 8,000 float32 are 64 MB.
_BLOCK = 2048
_SHOWN = 3

Vectors = Callable[[Sequence[str]], NDArray[np.float32]]


class ContaminationError(TrainingError):
    """A text that training would use repeats an evaluation prompt; the message shows the first of them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A training text, the evaluation prompt it is too like, and by which test: ``equal``, ``runs`` or ``meaning``."""

    text: str
    prompt: str
    test: str


class EvaluationPrompts:
    """All evaluation prompts, indexed for the two tests on words."""

    def __init__(self, prompts: Iterable[str]) -> None:
        self.prompts = list(dict.fromkeys(prompts))
        self._equal = {_normalised(prompt): prompt for prompt in self.prompts}
        self._runs = [_runs(prompt) for prompt in self.prompts]
        self._holders: dict[str, list[int]] = defaultdict(list)
        for number, runs in enumerate(self._runs):
            for run in runs:
                self._holders[run].append(number)

    def find(self, text: str) -> Finding | None:
        """What this text repeats in its words, or None."""
        equal = self._equal.get(_normalised(text))
        if equal is not None:
            return Finding(text, equal, "equal")
        runs = _runs(text)
        shared: dict[int, int] = defaultdict(int)
        for run in runs:
            for number in self._holders.get(run, ()):
                shared[number] += 1
        for number, count in shared.items():
            shorter = min(len(runs), len(self._runs[number]))
            if count >= max(LEAST, COMMON * shorter):
                return Finding(text, self.prompts[number], "runs")
        return None


def find_by_meaning(texts: Sequence[str], prompts: Sequence[str], vectors: Vectors) -> list[Finding]:
    """The texts whose L2-normalised vector has a cosine above 0.90 with an evaluation prompt's."""
    if not texts or not prompts:
        return []
    goals = np.ascontiguousarray(vectors(prompts), np.float32).T
    made = np.ascontiguousarray(vectors(texts), np.float32)
    found: list[Finding] = []
    for start in range(0, len(texts), _BLOCK):
        cosine = made[start : start + _BLOCK] @ goals
        nearest = cosine.argmax(axis=1)
        near = np.flatnonzero(cosine.max(axis=1) > COSINE).tolist()
        found += [Finding(texts[start + row], prompts[int(nearest[row])], "meaning") for row in near]
    return found


def excluded_rows(
    texts: Mapping[str, Sequence[str]], evaluation: EvaluationPrompts, vectors: Vectors | None
) -> dict[str, list[Finding]]:
    """What each data file must lose, by its card's name.

    Args:
        texts: the prompts of each training file.
        evaluation: what they must not repeat.
        vectors: makes sentence vectors; without it the test of meaning is left out.
    """
    found: dict[str, list[Finding]] = {}
    for name, prompts in texts.items():
        by_words = {text: evaluation.find(text) for text in dict.fromkeys(prompts)}
        clean = [text for text, finding in by_words.items() if finding is None]
        by_meaning = find_by_meaning(clean, evaluation.prompts, vectors) if vectors else []
        found[name] = [finding for finding in by_words.values() if finding is not None] + by_meaning
    return found


def check_texts(origin: str, texts: Iterable[str], evaluation: EvaluationPrompts) -> None:
    """Makes sure that none of these texts repeats an evaluation prompt in its words.

    Raises:
        ContaminationError: some do.
    """
    findings = [finding for text in texts if (finding := evaluation.find(text)) is not None]
    if findings:
        shown = "; ".join(f"{finding.text[:80]!r} is like {finding.prompt[:80]!r}" for finding in findings[:_SHOWN])
        raise ContaminationError(f"{origin}: {len(findings)} texts repeat an evaluation prompt: {shown}")


def _normalised(text: str) -> str:
    return " ".join(_words(text))


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs(text: str) -> frozenset[str]:
    words = _words(text)
    if len(words) <= RUN:
        return frozenset([" ".join(words)]) if words else frozenset()
    return frozenset(" ".join(words[start : start + RUN]) for start in range(len(words) - RUN + 1))
