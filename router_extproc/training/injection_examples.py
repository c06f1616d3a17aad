"""What the injection head learns from: attacks and harmless texts, with the family that each attack belongs to.

A template is one line of ``data/injection/*.txt`` under a heading; ``{slot}`` is filled from the slots' sections. Written
attacks carry the family they belong to as well, so that leaving a family out leaves out what was written for it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from router_extproc.training.pipeline import Context

FOLDS = 5
# The data set's own harmless texts, and ours in other languages: on these false positives are counted.
HARMLESS = ("arena_hard", "bipia_clean", "mitre_frr", "selfinstruct_seed", "selfinstruct_user")
OWN_MULTILINGUAL, OWN_HARMLESS, OWN_ATTACK = "own_multilingual", "own_harmless", "own_attack"
INSERTED, INDIRECT, PERSONA, MULTILINGUAL = "inserted", "indirect", "jailbreak_persona", "multilingual"
TRANSLATED = "cse_multilingual"

# How many texts are made of one template with slots, of the pools, and taken from each other data set.
_PER_ATTACK, _PER_HARMLESS, _PERSONAS, _ROLES, _PER_INSERTED = 6, 3, 220, 200, 12
_TAKEN = {"category": 1600, "sentences": 1500, "clinc150": 1500, "banking77": 700, "justeval": 219}
_JOINED = {"sentences": (300, 4, 40, " "), "clinc150": (250, 2, 14, ". "), "category": (200, 2, 6, "\n\n")}
# What a text counts in training: the translated attacks hold many requests that would be harmless from anyone else, and
# harmless foreign texts are few.
_WEIGHTS = {TRANSLATED: 0.5, OWN_MULTILINGUAL: 3.0}
_SLOT = re.compile(r"\{(\w+)\}")
# Characters at the end of a BIPIA prompt that tell its context: the question.
_CONTEXT_TAIL = 120


@dataclass(frozen=True, slots=True)
class InjectionExample:
    """A text.

    Attributes:
        text: as it would be sent.
        attack: whether it is one.
        source: where it comes from.
        family: of attacks the technique, which direct and indirect attacks share; of others the source.
        group: what must be held out together.
        own: whether it was written for this project.
        weight: what it counts in training.
    """

    text: str
    attack: bool
    source: str
    family: str
    group: str
    own: bool = False
    weight: float = 1.0

    @property
    def fold(self) -> int:
        """The part of the data in which its group is held out, 0 to ``FOLDS`` - 1."""
        return zlib.crc32(self.group.encode()) % FOLDS


def injection_examples(context: Context) -> list[InjectionExample]:
    """All texts, in a fixed order."""
    random = context.random("injection")
    return [
        *collected(context),
        *harmless_multilingual(context),
        *_from_other_sets(context, random),
        *_written(context, random),
    ]


def _example(text: str, source: str, family: str, group: str, *, attack: bool, own: bool = False) -> InjectionExample:
    return InjectionExample(text, attack, source, family, group, own, _WEIGHTS.get(source, 1.0))


def collected(context: Context) -> Iterable[InjectionExample]:
    """The data set of attacks and harmless prompts."""
    for row in context.rows("injection"):
        text, source = row["text"], row["source"]
        group = text[-_CONTEXT_TAIL:] if source.startswith("bipia") else text
        yield _example(text, source, row["family"].rsplit(":", 1)[-1], group, attack=row["label"] == "1")


def harmless_multilingual(context: Context) -> list[InjectionExample]:
    """Harmless requests in many languages; a language is held out as a whole."""
    sections = read_sections(context.own("injection/benign_multilingual.txt"))
    return [
        _example(text, OWN_MULTILINGUAL, language, language, attack=False)
        for language, texts in sections.items()
        for text in texts
    ]


def _from_other_sets(context: Context, random: np.random.Generator) -> Iterable[InjectionExample]:
    """Harmless by their nature; joined to longer texts too, or length would mean attack."""
    for name, count in _TAKEN.items():
        texts = list(dict.fromkeys(context.texts(name)))
        chosen = random.permutation(len(texts))[:count]
        yield from (_example(texts[place], name, name, texts[place], attack=False) for place in chosen)
        for _ in range(_JOINED.get(name, (0,))[0]):
            _, least, most, between = _JOINED[name]
            parts = random.choice(len(texts), int(random.integers(least, most + 1)), replace=False)
            text = between.join(texts[place] for place in parts)
            yield _example(text, f"{name}, joined", name, text, attack=False)


def _written(context: Context, random: np.random.Generator) -> Iterable[InjectionExample]:
    attacks = read_sections(context.own("injection/attacks.txt"))
    harmless = read_sections(context.own("injection/benign.txt"))
    translated = read_sections(context.own("injection/attacks_multilingual.txt"))
    parts = (*attacks.items(), *harmless.items())
    write = _Writer({name.removeprefix("slot "): lines for name, lines in parts if name.startswith("slot ")}, random)
    families: list[tuple[str, Sequence[str]]] = [
        (family, write.filled(templates, _PER_ATTACK))
        for family, templates in _headed(attacks, "attack ")
        if family != INSERTED
    ]
    families += [
        (INSERTED, write.inserted(attacks[f"attack {INSERTED}"], _documents(context, random))),
        (PERSONA, write.pooled(attacks, "persona", _PERSONAS)),
        (MULTILINGUAL, [text for texts in translated.values() for text in texts]),
    ]
    for family, texts in families:
        yield from (_example(text, OWN_ATTACK, family, text, attack=True, own=True) for text in texts)
    harmless_texts = [
        *write.filled(harmless["benign near"], _PER_HARMLESS),
        *write.pooled(harmless, "role", _ROLES),
    ]
    yield from (_example(text, OWN_HARMLESS, OWN_HARMLESS, text, attack=False, own=True) for text in harmless_texts)


def _headed(sections: Mapping[str, Sequence[str]], heading: str) -> Iterable[tuple[str, Sequence[str]]]:
    return ((name.removeprefix(heading), lines) for name, lines in sections.items() if name.startswith(heading))


class _Writer:
    """Fills templates, with the run's random numbers."""

    def __init__(self, slots: Mapping[str, Sequence[str]], random: np.random.Generator) -> None:
        self._slots = slots
        self._random = random

    def choose(self, items: Sequence[str]) -> str:
        return items[int(self._random.integers(len(items)))]

    def fill(self, template: str, fixed: dict[str, str] | None = None) -> str:
        """A template with its slots filled; a persona keeps its name throughout a text."""

        def filling(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self._slots:
                return match[0]
            if name == "name" and fixed is not None:
                return fixed.setdefault(name, self.choose(self._slots[name]))
            return self.choose(self._slots[name])

        return _SLOT.sub(filling, template)

    def filled(self, templates: Sequence[str], count: int) -> list[str]:
        texts = (self.fill(template) for template in templates for _ in range(count if _SLOT.search(template) else 1))
        return list(dict.fromkeys(texts))

    def pooled(self, sections: Mapping[str, Sequence[str]], pool: str, count: int) -> list[str]:
        """Longer texts: an opening, two to nine rules, mostly an end."""
        starts, rules, ends = (sections[f"pool {pool}_{part}"] for part in ("start", "rules", "end"))
        texts = []
        for _ in range(count):
            chosen = self._random.permutation(len(rules))[: int(self._random.integers(2, 10))]
            parts = [self.choose(starts), *(rules[place] for place in chosen)]
            if self._random.random() < 0.8:  # noqa: PLR2004 - four in five ask something at once
                parts.append(self.choose(ends))
            fixed: dict[str, str] = {}
            texts.append(self.choose((" ", "\n")).join(self.fill(part, fixed) for part in parts))
        return texts

    def inserted(self, templates: Sequence[str], documents: Sequence[str]) -> list[str]:
        """Each template bare, and in the middle of documents."""
        texts = self.filled(templates, 1)
        for template in templates:
            for _ in range(_PER_INSERTED):
                texts.append(insert(self.fill(template), self.choose(documents), self._random))
        return texts


def insert(what: str, document: str, random: np.random.Generator) -> str:
    """A text somewhere between the sentences or lines of a document."""
    parts = re.split(r"(?<=[.!?\n]) ?", document)
    place = int(random.integers(len(parts) + 1))
    return " ".join([*parts[:place], what, *parts[place:]])


def _documents(context: Context, random: np.random.Generator) -> list[str]:
    passages = [text for text in context.texts("category") if 300 < len(text) < 4_000]  # noqa: PLR2004 - neither remark nor book
    sentences = context.texts("sentences")
    joined = [
        " ".join(sentences[place] for place in random.choice(len(sentences), int(random.integers(3, 13)), replace=False))
        for _ in range(200)
    ]
    return passages + joined


def read_sections(path: Path) -> dict[str, list[str]]:
    """The lines of a file under their headings (``=name``); lines that begin with # are remarks."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("="):
            lines = sections.setdefault(line[1:], [])
        elif line and not (line.startswith("# ") and not sections):
            lines.append(line)
    return sections
