"""Texts with labels, and templates that stand for many texts: what the linear heads are trained on.

A template is one line of a data file; ``{slot}`` is filled from the folder's ``slots.json`` or from training texts. Filled
templates are varied as people vary what they type, so that a capital or a "please" means nothing. Texts that stem from one
template share its group and are held out together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from router_extproc.training.pipeline import OWN_DATA, Context

_SLOT = re.compile(r"\{(\w+)\}")
_REQUEST = re.compile(
    r"(?:write|give|make|create|translate|summar\w+|explain|find|extract|classify|plan|list|rewrite|convert|tell)\b"
)
# How often each variation is made, out of 1.
_SMALL_LETTERS, _WITHOUT_POINT = 0.15, 0.15
_PLEASE, _CAN_YOU, _HI, _LETTER, _PLEASE_LAST, _NEED_HELP = 0.06, 0.10, 0.13, 0.16, 0.18, 0.20
KEY_LENGTH = 12
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Example:
    """A text for training.

    Attributes:
        text: as a user would send it.
        labels: the classes it belongs to; none for what belongs to no class.
        source: where it comes from, for tables.
        group: what is held out together with it.
        ignored: the classes it neither teaches nor judges.
        weight: what it counts in training.
    """

    text: str
    labels: tuple[str, ...]
    source: str
    group: str
    ignored: tuple[str, ...] = ()
    weight: float = 1.0

    @property
    def fold(self) -> int:
        """The part of the data it is held out with, 0 to ``FOLDS`` - 1: by its group alone, so that it never changes."""
        return int(hashlib.sha256(self.group.encode()).hexdigest()[:8], 16) % FOLDS


def key_of(text: str) -> str:
    """A text's name in label files: a hash of its words, whatever the case and the white space."""
    return hashlib.sha256(re.sub(r"\s+", " ", text.strip().lower()).encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class Template:
    """One line of a template file: its class is the file's name."""

    name: str
    line: str

    @property
    def has_slots(self) -> bool:
        """Whether filling it twice may give two texts."""
        return _SLOT.search(self.line) is not None

    def filled(self, slots: Mapping[str, Sequence[str]], random: np.random.Generator) -> str:
        """A text made of it.

        Raises:
            KeyError: a slot has no fillers.
        """

        def choose(slot: re.Match[str]) -> str:
            return _choice(slots[slot[1]], random)

        return _SLOT.sub(choose, self.line.replace("\\n", "\n")) if self.has_slots else self.line.replace("\\n", "\n")


def read_templates(context: Context, folder: str) -> list[Template]:
    """The templates of every file in a folder of the package's own data, in order."""
    templates: list[Template] = []
    for path in sorted((OWN_DATA / folder).glob("*.txt")):
        lines = context.own(f"{folder}/{path.name}").read_text("utf-8").splitlines()
        templates += [Template(path.stem, line) for line in lines if line.strip() and not line.startswith("#")]
    return templates


def read_slots(context: Context, folder: str) -> dict[str, list[str]]:
    """What the slots of a folder's templates are filled with."""
    return msgspec.json.decode(context.own(f"{folder}/slots.json").read_bytes(), type=dict[str, list[str]])


def fill(
    templates: Sequence[Template],
    slots: Mapping[str, Sequence[str]],
    random: np.random.Generator,
    *,
    times: int,
    without: Collection[str] = (),
) -> Iterator[Example]:
    """Examples made of templates: each with slots is filled ``times`` times, each other is varied twice.

    Args:
        templates: what to fill.
        slots: with what.
        random: numbers.
        times: how often.
        without: names that are no class: their examples have no label.
    """
    for number, template in enumerate(templates):
        labels = () if template.name in without else (template.name,)
        for _ in range(times if template.has_slots else 2):
            text = varied(template.filled(slots, random), random)
            yield Example(text, labels, f"template:{template.name}", f"template {number} {template.line}")


def varied(text: str, random: np.random.Generator) -> str:
    """The text as somebody else would type it: without capitals or point, with a greeting, with "please"."""
    if random.random() < _SMALL_LETTERS:
        text = text.lower()
    if random.random() < _WITHOUT_POINT:
        text = text.rstrip(".?! ")
    small = text[:1].lower() + text[1:]
    draw = random.random()
    if draw < _PLEASE:
        return f"please {small}"
    if draw < _CAN_YOU:
        return f"Can you {small}" if _REQUEST.match(small) else text
    if draw < _HI:
        return f"Hi! {text}"
    if draw < _LETTER:
        return f"Hello,\n{text}\nThanks!"
    if draw < _PLEASE_LAST:
        return f"{text} please"
    return f"I need your help. {text}" if draw < _NEED_HELP else text


def passages(sentences: Sequence[str], random: np.random.Generator, count: int, most: int) -> list[str]:
    """Documents of 2 to ``most`` sentences that stand beside each other in a collection; short ones are more common."""
    starts = random.integers(0, max(1, len(sentences) - most), count)
    sizes = 2 + (random.random(count) ** 2 * (most - 1)).astype(int)
    return [" ".join(sentences[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def short_sentences(context: Context) -> list[str]:
    """Sentences of one line of the training texts."""
    shortest, longest = 25, 160
    return [text for text in context.texts("sentences") if shortest < len(text) < longest and "\n" not in text]


def _choice(values: Sequence[str], random: np.random.Generator) -> str:
    return values[int(random.integers(len(values)))]
