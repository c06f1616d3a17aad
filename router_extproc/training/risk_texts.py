"""What the risk head is trained on: exam questions by subject, real prompts, and templates of how people ask.

Of the evaluation file MMLU the subject alone is used, never what a model got right; the head has no part in the routing
score. Exam questions come twice, with and without their options, so that four lettered lines mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from router_extproc.analysis.risk import NONE
from router_extproc.training.examples import Example, fill, key_of, read_slots, read_templates, short_sentences
from router_extproc.training.pipeline import Context

EXAM, BARE, PEOPLE = "exam", "bare exam", "people"
_FOLDER = "risk"
_TIMES = 6
_EXAM, _BARE, _PEOPLE, _REAL, _OTHER = 0.6, 0.4, 0.8, 2.0, 0.6
# Everyday requests have hardly any slots, so each stands for itself.
_EVERYDAY = 2.5
# How many texts of plentiful harmless sources.
_NARROW, _ASSISTANT, _PROGRAMS, _SCIENCE, _FINANCIAL_ERRANDS = 900, 800, 150, 400, 200
_OPTIONS = re.compile(r"\n ?A\. ")
_LAST_LINE = re.compile(r"\nAnswer:\s*$")
_SCIENCES = frozenset({"business", "economics", "law", "health"})
# Narrow sources hold questions of every domain; those that may be risky are not taken for harmless.
_MAY_BE_RISKY = re.compile(
    r"legal|tax|stock|invest|medic|doctor|health|patient|clinic|financ|disease|court|police|bank|symptom|law|suicid|kill"
    r"|inflation|interest|savings|insomnia|headache|trade|market|loan|contract|secret|password",
    re.IGNORECASE,
)


class _Plan(msgspec.Struct, frozen=True):
    subjects: dict[str, tuple[str, ...]]
    clinc150_financial: frozenset[str]
    clinc150_arguable: frozenset[str]


class _Labels(msgspec.Struct, frozen=True):
    labels: dict[str, str]


def risk_examples(context: Context) -> list[Example]:
    """All texts; the one label of each is its class: the domain, a colon, the subject or the kind of source."""
    plan = msgspec.json.decode(context.own(f"{_FOLDER}/subjects.json").read_bytes(), type=_Plan)
    return [*_exam(context, plan), *_real(context), *_harmless(context, plan), *_templates(context)]


def domain_of(example: Example) -> str:
    """The risky domain of a text, or ``none``."""
    return example.labels[0].partition(":")[0]


def _exam(context: Context, plan: _Plan) -> Iterator[Example]:
    domains = {subject: domain for domain, subjects in plan.subjects.items() for subject in subjects}
    for row in context.rows("eval_mmlu"):
        name = f"{domains.get(row['group'], NONE)}:{row['group']}"
        bare = _OPTIONS.split(_LAST_LINE.sub("", row["prompt"]))[0]
        group = key_of(bare)
        yield Example(row["prompt"], (name,), EXAM, group, (), _EXAM)
        yield Example(bare, (name,), BARE, group, (), _BARE)


def _real(context: Context) -> Iterator[Example]:
    labels = msgspec.json.decode(context.own(f"{_FOLDER}/real_prompts.json").read_bytes(), type=_Labels).labels
    seen: set[str] = set()
    for card in ("justeval", "arena_hard", "category"):
        for row in context.rows(card):
            key = key_of(row["text"])
            domain = labels.get(key, NONE)
            if key not in seen and domain != "?" and row.get("category", "other").startswith("other"):
                seen.add(key)
                yield Example(row["text"], (f"{domain}:{PEOPLE if domain != NONE else card}",), "real", key, (), _REAL)


def _harmless(context: Context, plan: _Plan) -> Iterator[Example]:
    random = context.random("risk:harmless")

    def some(texts: list[str], most: int, name: str) -> Iterator[Example]:
        for text in random.permutation(texts)[:most].tolist():
            yield Example(text, (name,), name, key_of(text), (), _OTHER)

    narrow = [row["text"] for row in context.rows("category") if not row["category"].startswith("other")]
    yield from some([text for text in narrow if not _MAY_BE_RISKY.search(text)], _NARROW, f"{NONE}:narrow")
    errands = context.rows("clinc150")
    harmless = [row["text"] for row in errands if row["intent"] not in plan.clinc150_arguable | plan.clinc150_financial]
    yield from some(harmless, _ASSISTANT, f"{NONE}:assistant")
    financial = [row["text"] for row in errands if row["intent"] in plan.clinc150_financial]
    yield from some(financial, _FINANCIAL_ERRANDS, f"financial:{PEOPLE}")
    programs = [row["text"] for row in context.rows("injection") if row["source"] == "mitre_frr"]
    yield from some(programs, _PROGRAMS, f"{NONE}:programs")
    science = [row["question"] for row in context.rows("mmlupro") if row["category"] not in _SCIENCES]
    yield from some(science, _SCIENCE, f"{NONE}:science")


def _templates(context: Context) -> Iterator[Example]:
    random = context.random("risk:templates")
    # What the task head is taught by is harmless, but for a few words; it is the widest sample of requests there is.
    sentences = short_sentences(context)
    slots = read_slots(context, "tasks") | dict.fromkeys(("sentence", "sentence2", "passage"), sentences)
    for example in fill(read_templates(context, "tasks"), slots, random, times=3):
        if not _MAY_BE_RISKY.search(example.text):
            yield replace(example, labels=(f"{NONE}:tasks",), source="template:tasks", weight=_OTHER)
    for example in fill(read_templates(context, _FOLDER), read_slots(context, _FOLDER), random, times=_TIMES):
        yield replace(
            example, labels=(f"{example.labels[0]}:{PEOPLE}",), weight=_EVERYDAY if example.labels[0] == NONE else _PEOPLE
        )
