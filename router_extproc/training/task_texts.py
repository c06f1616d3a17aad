"""What the task head is trained on: narrow sources with a sure label, real prompts labelled by hand, and templates.

Real prompts are few and count more; they and the narrow sources are what cross-validation holds out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from router_extproc.training.examples import (
    Example,
    fill,
    key_of,
    passages,
    read_slots,
    read_templates,
    short_sentences,
)
from router_extproc.training.pipeline import Context

REAL = ("justeval", "arena_hard", "self_instruct")
NARROW = "narrow"
_FOLDER = "tasks"
_RENAMED = {"creative": "creative_writing"}
# What one text of each kind of source counts: real prompts are few and what is to be read, narrow sources many and easy.
# Chosen by cross-validation on real prompts and on templates.
_REAL, _NARROW, _TEMPLATE, _OTHER = 5.0, 0.4, 1.0, 0.4
_TIMES = 6
_PASSAGES, _MOST_SENTENCES = 3000, 16
# How many texts of sources that are plentiful and narrow.
_PROGRAMS, _WORD_PROBLEMS, _EXAM_QUESTIONS = 200, 200, 500


class _Labels(msgspec.Struct, frozen=True):
    labels: dict[str, str]


class _Intents(msgspec.Struct, frozen=True):
    each: int
    intents: dict[str, str]


def task_examples(context: Context) -> list[Example]:
    """All texts with their kinds of work, each text once; which are drawn depends on the context's seed."""
    found: dict[str, Example] = {}
    for example in (*_real(context), *_narrow(context), *_others(context), *_templates(context)):
        found.setdefault(key_of(example.text), example)
    return list(found.values())


def real_labels(context: Context) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Of each labelled prompt, by key: its kinds, the main one first, and the arguable ones."""
    stored = msgspec.json.decode(context.own(f"{_FOLDER}/real_prompts.json").read_bytes(), type=_Labels).labels
    return {
        key: (
            tuple(name for name in names.split() if not name.startswith("?")),
            tuple(name[1:] for name in names.split() if name.startswith("?")),
        )
        for key, names in stored.items()
    }


def _real(context: Context) -> Iterator[Example]:
    labels = real_labels(context)
    for card, source in (("justeval", "justeval"), ("arena_hard", "arena_hard"), ("category", "self_instruct")):
        for text in context.texts(card):
            key = key_of(text)
            if key in labels:
                kinds, ignored = labels[key]
                yield Example(text, kinds, source, key, ignored, _REAL)


def _narrow(context: Context) -> Iterator[Example]:
    for row in context.rows("category"):
        category = row["category"]
        if not category.startswith("other"):
            yield Example(row["text"], (_RENAMED.get(category, category),), NARROW, key_of(row["text"]), (), _NARROW)


def _others(context: Context) -> Iterator[Example]:
    random = context.random("tasks:others")
    harmless = [row for row in context.rows("injection") if row["label"] == "0"]
    programs = [row["text"] for row in harmless if row["source"] == "mitre_frr"]
    for text in random.permutation(programs)[:_PROGRAMS].tolist():
        yield _other(text, "code", "programs")
    for row in harmless:
        if row["source"] == "bipia_clean":
            yield _other(row["text"], "rag_qa", "documents")
    for text in random.permutation(context.texts("gsm8k_steps"))[:_WORD_PROBLEMS].tolist():
        yield _other(text, "math", "word_problems", "reasoning")
    for text in random.permutation(context.texts("mmlupro"))[:_EXAM_QUESTIONS].tolist():
        yield _other(text, "math", "exam", "reasoning", "qa", "code")
    yield from _assistant(context)


def _assistant(context: Context) -> Iterator[Example]:
    plan = msgspec.json.decode(context.own(f"{_FOLDER}/clinc150.json").read_bytes(), type=_Intents)
    kinds = {intent: kind for kind, intents in plan.intents.items() for intent in intents.split()}
    # Small talk and errands are questions too; only what is beyond doubt is taught.
    doubtful = defaultdict(tuple, {"tool_step": ("chat", "qa", "planning"), "chat": ("qa",)})
    taken: Counter[str] = Counter()
    rows = context.rows("clinc150")
    for place in context.random("tasks:assistant").permutation(len(rows)).tolist():
        kind = kinds.get(rows[place]["intent"])
        taken[rows[place]["intent"]] += 1
        if kind is not None and taken[rows[place]["intent"]] <= plan.each * (4 if kind == "translation" else 1):
            yield _other(rows[place]["text"], kind, "assistant", *doubtful[kind])


def _other(text: str, kind: str, source: str, *ignored: str) -> Example:
    return Example(text, (kind,), source, key_of(text), ignored, _OTHER)


def _templates(context: Context) -> Iterator[Example]:
    random = context.random("tasks:templates")
    sentences = short_sentences(context)
    slots = read_slots(context, _FOLDER)
    slots |= {"sentence": sentences, "sentence2": sentences}
    slots["passage"] = passages(sentences, random, _PASSAGES, _MOST_SENTENCES)
    for example in fill(read_templates(context, _FOLDER), slots, random, times=_TIMES):
        yield replace(example, weight=_TEMPLATE)
