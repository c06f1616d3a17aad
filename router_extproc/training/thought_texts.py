"""What tells requests that are to be thought through from those that are not, though both are short and plainly worded.

Written for it are ``data/thought``: riddles, quarrels, ailments, failures and why-questions in everyday words, short
questions of experts, and as many everyday requests in the same forms. Around them stand prompts of other sources whose
label is beyond doubt; what is between (school work, small programs, plans) teaches nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from router_extproc.analysis.tasks import THOUGHT
from router_extproc.training.examples import Example, fill, key_of, passages, read_slots, read_templates, short_sentences
from router_extproc.training.pipeline import Context
from router_extproc.training.routing_data import DEMAND_FILE

WRITTEN = "written"
_FOLDER = "thought"
# What one text of each source counts: the written ones are few and what is to be read, of the others there are many.
_WRITTEN, _DEMAND, _TEMPLATE, _TAGGED, _ARENA, _ASSISTANT, _BANK, _EXAM = 2.0, 1.0, 0.5, 2.0, 0.5, 0.15, 0.08, 0.1
# How many texts of sources that are plentiful and narrow.
_ASSISTANT_TEXTS, _BANK_TEXTS, _EXAM_QUESTIONS = 4000, 1000, 2000
_TIMES, _PASSAGES, _MOST_SENTENCES = 3, 500, 6
_DEMANDING, _UNDEMANDING = frozenset({"hard"}), frozenset({"trivial", "open"})
# Kinds of work whose templates are neither plainly easy nor plainly hard.
_BETWEEN = frozenset({"math", "code", "planning", "tool_step"})
_HARMLESS = "none"
_CHECKABLE_TAGS = frozenset({"reasoning", "coding", "math"})


class _Demand(msgspec.Struct, frozen=True):
    text: str
    demand: str


def thought_examples(context: Context) -> list[Example]:
    """All texts, each once; those with the label ``THOUGHT`` are to be thought through."""
    found: dict[str, Example] = {}
    for example in (*_written(context), *_demand(context), *_templates(context), *_real(context), *_plentiful(context)):
        found.setdefault(key_of(example.text), example)
    return list(found.values())


def written_texts(context: Context) -> list[str]:
    """The texts of ``data/thought`` alone."""
    return [example.text for example in _written(context)]


def _written(context: Context) -> Iterator[Example]:
    for name, is_hard in (("hard", True), ("easy", False)):
        for line in context.own(f"{_FOLDER}/{name}.txt").read_text("utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                yield _example(line, WRITTEN, _WRITTEN, is_hard=is_hard)


def _demand(context: Context) -> Iterator[Example]:
    for line in context.own(DEMAND_FILE).read_bytes().splitlines():
        row = msgspec.json.decode(line, type=_Demand)
        if row.demand in _DEMANDING | _UNDEMANDING:
            yield _example(row.text, "demand", _DEMAND, is_hard=row.demand in _DEMANDING)


def _templates(context: Context) -> Iterator[Example]:
    random = context.random("thought:templates")
    sentences = short_sentences(context)
    texts = {"sentence": sentences, "sentence2": sentences, "passage": passages(sentences, random, _PASSAGES, _MOST_SENTENCES)}
    for folder in ("tasks", "risk"):
        wanted = [
            template
            for template in read_templates(context, folder)
            if template.name not in _BETWEEN and (folder == "tasks" or template.name == _HARMLESS)
        ]
        for example in fill(wanted, read_slots(context, folder) | texts, random, times=_TIMES):
            is_hard = example.labels == ("reasoning",)
            yield _example(example.text, example.source, _TEMPLATE, is_hard=is_hard, group=example.group)


def _real(context: Context) -> Iterator[Example]:
    for text in context.texts("arena_hard"):
        yield _example(text, "arena_hard", _ARENA, is_hard=True)
    for row in context.rows("justeval"):
        if row["difficulty"] == "easy" and _CHECKABLE_TAGS.isdisjoint(row["task_types"].split("|")):
            yield _example(row["text"], "justeval", _TAGGED, is_hard=False)


def _plentiful(context: Context) -> Iterator[Example]:
    random = context.random("thought:plentiful")
    for card, most, weight, is_hard in (
        ("clinc150", _ASSISTANT_TEXTS, _ASSISTANT, False),
        ("banking77", _BANK_TEXTS, _BANK, False),
        ("mmlupro", _EXAM_QUESTIONS, _EXAM, True),
    ):
        for text in _some(context.texts(card), most, random):
            yield _example(text, card, weight, is_hard=is_hard)


def _some(texts: list[str], most: int, random: np.random.Generator) -> list[str]:
    return [texts[place] for place in random.permutation(len(texts))[:most].tolist()]


def _example(text: str, source: str, weight: float, *, is_hard: bool, group: str | None = None) -> Example:
    return Example(text, (THOUGHT,) if is_hard else (), source, group or key_of(text), (), weight)
