"""How much a text asks at once: its steps, its constraints, its questions. Adding one never lowers a count.

Numbers, lists and question marks are counted in any language, the words for steps and constraints in English only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_listed = re.compile(r"^[ \t]{0,8}(?:[-*\u2022]|\(?\d{1,2}[.):]|\(?[a-z][.)])[ \t]+\S", re.MULTILINE)
_ordered = re.compile(
    r"\b(?:step \d{1,2}|first(?:ly)?,|second(?:ly)?,|third(?:ly)?,|then|next,|after that|afterwards|finally|lastly)(?!\w)",
    re.IGNORECASE,
)
_constraint = re.compile(
    r"\b(?:must|should|shall|at least|at most|no more than|no less than|no longer than|fewer than|less than|more than|exactly"
    r"|only|without|except|unless|avoid|ensure|make sure|be sure|do not|don['\u2019]t|never|always|include|including|exclude"
    r"|limited? to|up to|in the style of|in the form of|formatted as|as json|in json|such that|subject to"
    r"|\d{1,6}[- ](?:words?|sentences?|paragraphs?|characters?|lines?|bullets?|points?|examples?|steps))\b",
    re.IGNORECASE,
)
_question = re.compile(r"[?\uff1f\u061f]+")


class Structure(NamedTuple):
    """Counts: ``steps`` are list items and words of sequence, ``constraints`` words that bind the answer."""

    steps: int
    constraints: int
    questions: int

    @property
    def is_multi_step(self) -> bool:
        """Whether more than one thing is asked for."""
        return self.steps > 1 or self.questions > 1


def read_structure(text: str) -> Structure:
    """The counts for a text, usually a window of one; linear in its length."""
    return Structure(
        steps=sum(1 for _ in _listed.finditer(text)) + sum(1 for _ in _ordered.finditer(text)),
        constraints=sum(1 for _ in _constraint.finditer(text)),
        questions=sum(1 for _ in _question.finditer(text)),
    )
