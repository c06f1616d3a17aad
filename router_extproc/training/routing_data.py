"""What the routing score is trained on: prompts of five kinds, each with the label it can honestly carry.

- demand: prompts written for this project with how much model each asks for (``data/routing_demand.jsonl``);
- document: real documents with a simple request (summaries, questions about a passage): long, and not hard;
- exam: hard questions with the share of 29 models that failed, once as they are and once with four options;
- steps: school problems with the number of steps of their solution;
- tagged: real and benchmark prompts of which is known whether an answer can be checked, and by whom they were called hard.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_extproc.training.pipeline import Context

Labels = NDArray[np.float64]

DEMAND_FILE = "routing_demand.jsonl"
# Probability that economy, standard and premium are good enough, by the author's judgement of each class of prompt; the
# classes are: a fact or a phrase; open-ended writing and advice; school work, small programs, explanations; expert work.
ENOUGH = {
    "trivial": (0.97, 0.99, 0.995),
    "open": (0.90, 0.97, 0.99),
    "moderate": (0.62, 0.90, 0.96),
    "hard": (0.20, 0.45, 0.80),
}
# What just-eval's difficulty says of the same.
_TAGGED_ENOUGH = {"easy": ENOUGH["trivial"], "medium": ENOUGH["open"], "hard": ENOUGH["moderate"]}
# Kinds of the category file that hold a document and ask little of it, and those whose answers can be checked.
_DOCUMENT_KINDS = ("rag_qa", "summarization", "classification")
_CHECKABLE = {"math": 1, "code": 1, "reasoning": 1, "creative": 0, "summarization": 0, "other": 0}
_CHECKABLE_TAGS = {"reasoning", "coding", "math"}
_LETTERS = "ABCD"
# A model of an exam file stands for a tier by its share of right answers there; what is weaker than economy is for none.
_ECONOMY_FROM, _STANDARD_FROM, _PREMIUM_FROM = 0.3, 0.4, 0.55
_FIRST_MODEL_COLUMN = 6


@dataclass
class Pool:
    """Prompts with labels; a label is NaN where a prompt has none of that sort.

    Attributes:
        kinds: which part of the pool each prompt belongs to.
        groups: what must not be split between fitting and judging.
        demand: log-odds that the economy tier is not good enough.
        difficulty: share of models that failed.
        steps: of the solution.
        checkable: 1 where an answer can be checked, 0 where not.
        enough: probabilities that economy, standard, premium are good enough, [n, 3].
    """

    texts: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    demand: list[float] = field(default_factory=list)
    difficulty: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    checkable: list[float] = field(default_factory=list)
    enough: list[tuple[float, float, float]] = field(default_factory=list)

    def add(
        self,
        text: str,
        kind: str,
        group: str = "",
        *,
        demand: float = np.nan,
        difficulty: float = np.nan,
        steps: float = np.nan,
        checkable: float = np.nan,
        enough: tuple[float, float, float] = (np.nan, np.nan, np.nan),
    ) -> None:
        """One more prompt; a group of its own unless one is named."""
        self.texts.append(text)
        self.kinds.append(kind)
        # A question with and without options is one question.
        self.groups.append(f"{'exam' if kind == 'options' else kind}/{group or len(self.texts)}")
        self.demand.append(demand)
        self.difficulty.append(difficulty)
        self.steps.append(steps)
        self.checkable.append(checkable)
        self.enough.append(enough)


class _Written(msgspec.Struct, frozen=True):
    text: str
    demand: str


def read_pool(context: Context) -> Pool:
    """All prompts with their labels."""
    pool = Pool()
    for line in context.own(DEMAND_FILE).read_bytes().splitlines():
        written = msgspec.json.decode(line, type=_Written)
        enough = ENOUGH[written.demand]
        pool.add(written.text, "demand", demand=_log_odds(1 - enough[0]), enough=enough)
    _add_exam(pool, context)
    for row in context.rows("gsm8k_steps"):
        pool.add(row["question"], "steps", steps=float(row["n_steps"]), checkable=1)
    for row in context.rows("category"):
        kind = row["category"].split(":")[0]
        easy = kind in _DOCUMENT_KINDS
        pool.add(
            row["text"],
            "document" if easy else "category",
            row["source"],
            checkable=_CHECKABLE.get(kind, np.nan),
        )
    for row in context.rows("justeval"):
        enough = _TAGGED_ENOUGH[row["difficulty"]]
        checkable = bool(_CHECKABLE_TAGS & set(row["task_types"].split("|")))
        pool.add(row["text"], "tagged", checkable=checkable, enough=enough)
    for text in context.texts("arena_hard"):
        pool.add(text, "arena")
    return pool


def _add_exam(pool: Pool, context: Context) -> None:
    rows = context.rows("mmlupro")
    models = list(rows[0])[_FIRST_MODEL_COLUMN:]
    right = np.array([[float(row[model] or "nan") for model in models] for row in rows])
    overall = np.nanmean(right, axis=0)
    bounds = (_ECONOMY_FROM, _STANDARD_FROM, _PREMIUM_FROM, np.inf)
    tiers = [(low <= overall) & (overall < high) for low, high in pairwise(bounds)]
    enough = np.stack([np.nanmean(right[:, tier], axis=1) for tier in tiers], axis=1)
    failed = 1 - np.nanmean(right, axis=1)
    random = context.random("options")
    for row, share, each in zip(rows, failed, enough, strict=True):
        question, options = row["question"], json.loads(row["options"])
        probabilities = (float(each[0]), float(each[1]), float(each[2]))
        pool.add(question, "exam", row["src"], difficulty=share, checkable=1, enough=probabilities)
        pool.add(_with_four(question, options, row["answer"], random), "options", row["src"], difficulty=share, checkable=1)


def _with_four(question: str, options: Sequence[str], answer: str, random: np.random.Generator) -> str:
    """The question with its answer and three of the wrong options, in their order."""
    right = ord(answer) - ord("A")
    wrong = [place for place in range(len(options)) if place != right]
    kept = sorted([right, *random.choice(wrong, min(len(_LETTERS) - 1, len(wrong)), replace=False)])
    lines = [f"{letter}. {options[place]}" for letter, place in zip(_LETTERS, kept, strict=False)]
    return "\n".join([question, *lines, "Answer:"])


def _log_odds(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))
