"""Whether a prompt gets cheaper when it is misspelt or written in another language: it must not.

The foreign twins were written for this report (``data/robustness/twins.jsonl``); typing mistakes are made here, seeded.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import Classifier
from router_extproc.training.pipeline import Context
from router_extproc.training.report import Section, Table

TWINS = "robustness/twins.jsonl"
# Shares of letters that are swapped with the next, doubled, dropped or replaced.
NOISE = (0.02, 0.05, 0.10)
# The probabilities that the economy tier is good enough at which tiers are compared; `auto` picks one as `quality`.
QUALITIES = (0.5, 0.6, 0.7, 0.8)
# Below this a difference is rounding, not a decision.
_SAME = 0.005


class Twins(msgspec.Struct, frozen=True):
    """One English prompt and the same in other languages, by ISO 639-1 code."""

    text: str
    twins: dict[str, str]


def report(context: Context, artefact: Path) -> Section:
    """Compares each prompt with its foreign and its misspelt twins."""
    analyser = Analyser(Classifier.load(artefact))
    foreign, foreign_cheaper = _foreign(context, analyser)
    misspelt, misspelt_cheaper = _misspelt(context, analyser)
    columns = (
        "twins",
        "mean change of needs_strong",
        "lower score",
        *[f"economy at quality {q:g} only then" for q in QUALITIES],
    )
    return Section(
        "Robustness",
        "`lower score` is the share of twins whose `needs_strong` is lower than the clean English prompt's by more than "
        f"{_SAME}; the last columns are the share that would go to the economy tier where the clean prompt would not.",
        tables=(
            Table("Foreign twins", ("language", *columns), foreign),
            Table("Typing mistakes in real prompts", ("share of letters", *columns), misspelt),
        ),
        figures={"robustness.foreign.cheaper": foreign_cheaper, "robustness.misspelt.cheaper": misspelt_cheaper},
    )


def with_mistakes(text: str, share: float, random: np.random.Generator) -> str:
    """The text with this share of its letters mistyped: swapped with the next, doubled, dropped or replaced."""
    letters = list(text)
    for place in np.flatnonzero(random.random(len(letters)) < share):
        if not letters[place].isalpha():
            continue
        kind = random.integers(4)
        if kind == 0 and place + 1 < len(letters) and letters[place + 1].isalpha():
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        elif kind == 1:
            letters[place] *= 2
        elif kind == 2:  # noqa: PLR2004 - the third of the four kinds above
            letters[place] = ""
        else:
            letters[place] = str(random.choice(list(string.ascii_lowercase)))
    return "".join(letters)


def _foreign(context: Context, analyser: Analyser) -> tuple[list[tuple[object, ...]], float]:
    lines = context.own(TWINS).read_bytes().splitlines()
    pairs: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        twins = msgspec.json.decode(line, type=Twins)
        clean = needs_strong(analyser, twins.text)
        for language, text in twins.twins.items():
            pairs.setdefault(language, []).append((clean, needs_strong(analyser, text)))
    everything = [pair for of_language in pairs.values() for pair in of_language]
    rows = [(language, *_compared(of_language)) for language, of_language in sorted(pairs.items())]
    return [*rows, ("all", *_compared(everything))], _cheaper(everything)


def _misspelt(context: Context, analyser: Analyser) -> tuple[list[tuple[object, ...]], float]:
    prompts = [*context.texts("justeval"), *context.texts("arena_hard")]
    clean = [needs_strong(analyser, prompt) for prompt in prompts]
    rows: list[tuple[object, ...]] = []
    worst = 0.0
    for share in NOISE:
        random = context.random(f"mistakes {share}")
        noisy = [needs_strong(analyser, with_mistakes(prompt, share, random)) for prompt in prompts]
        pairs = list(zip(clean, noisy, strict=True))
        rows.append((f"{share:.0%}", *_compared(pairs)))
        worst = max(worst, _cheaper(pairs))
    return rows, worst


def needs_strong(analyser: Analyser, prompt: str) -> float:
    """The probability that an economy model is not good enough for this prompt alone; 1 where it is not known."""
    body = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    found = analyser.analyse(body).needs_strong
    return 1.0 if found is None else found


def _compared(pairs: Iterable[tuple[float, float]]) -> tuple[object, ...]:
    clean, twin = np.array(list(pairs)).T
    only_then = [float(((1 - twin >= quality) & (1 - clean < quality)).mean()) for quality in QUALITIES]
    return len(clean), float((twin - clean).mean()), float((twin < clean - _SAME).mean()), *only_then


def _cheaper(pairs: Iterable[tuple[float, float]]) -> float:
    """The largest share, over all qualities, of twins that would go to the economy tier where the clean prompt would not."""
    return max(float(str(share)) for share in _compared(pairs)[3:])
