"""How well attacks are told: unseen families, unseen sources, by length, in other languages, with harmless words appended.

Every figure is of texts that the model had not seen, nor any attack of their family; so it needs cross-validation and takes
minutes. The threshold is always the one at which 1 % of the harmless texts raise an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from router_extproc.analysis.injection import InjectionHead, evidence_of
from router_extproc.analysis.injection_rules import InjectionRules
from router_extproc.analysis.injection_windows import MAX_BYTES, WindowModel
from router_extproc.analysis.ngrams import Powers
from router_extproc.training.injection import FALSE_POSITIVES, HeldOut, cross_validated, probabilities
from router_extproc.training.injection_documents import DOCUMENT_SOURCE, document_examples
from router_extproc.training.injection_examples import (
    HARMLESS,
    INDIRECT,
    OWN_MULTILINGUAL,
    InjectionExample,
    injection_examples,
    read_sections,
)
from router_extproc.training.injection_fit import Flags, Values
from router_extproc.training.injection_sources import unseen_sources
from router_extproc.training.metrics import auc, bootstrap, recall_at, reliability, threshold_at
from router_extproc.training.pipeline import Context
from router_extproc.training.report import LinePlot, Section, Series, Table

# Characters; the last band is open.
_BANDS = (80, 250, 1_000, 4_000)
_ATTACKED, _MOST_WORDS, _PROMISING = 150, 9, 12
_FEW_FALSE, _MANY_FALSE = 0.05, 0.10


def report(context: Context, artefact: Path) -> Section:
    """All of the above."""
    InjectionHead.load(artefact)  # what is measured must exist
    rules = InjectionRules.load()
    examples = injection_examples(context)
    context.progress.note("injection: families, without what was written for them")
    strict = cross_validated(examples, rules, context, with_own_of_family=False)
    context.progress.note("injection: families, as shipped")
    shipped = cross_validated(examples, rules, context, with_own_of_family=True)
    context.progress.note("injection: documents")
    documents = cross_validated(document_examples(context, examples), rules, context, with_own_of_family=True)
    undone, attacked = _harmless_words(strict, rules, context)
    odds, attacks = _judged(strict)
    figures = {
        "injection.families.auc": auc(odds, attacks),
        "injection.families.recall": recall_at(odds, attacks, FALSE_POSITIVES),
        "injection.families_with_own.auc": auc(*_judged(shipped)),
        "injection.families_with_own.recall": recall_at(*_judged(shipped), FALSE_POSITIVES),
        "injection.documents.auc": auc(*_inserted(documents)),
        "injection.documents.recall": recall_at(*_inserted(documents), FALSE_POSITIVES),
        "injection.harmless_words.undone": undone,
        "injection.foreign.false_positives": _alarms(strict, foreign=True),
        "injection.english.false_positives": _alarms(strict, foreign=False),
    }
    return Section(
        title="Injection",
        text=_text(strict, attacked, undone),
        tables=(
            _summary({"family unseen, own examples of it left out too": strict, "family unseen, own examples kept": shipped}),
            _documents(documents),
            _sources(examples, rules, context),
            _families(strict, shipped),
            _lengths(strict),
            _false_alarms(strict),
        ),
        plots=_plots(strict),
        figures=figures,
    )


def _judged(held_out: HeldOut, chosen: Flags | None = None) -> tuple[Values, Flags]:
    judged = held_out.judged() if chosen is None else held_out.judged() & chosen
    return held_out.log_odds[judged], held_out.attacks[judged]


def _inserted(held_out: HeldOut, *, with_kinds: bool = True) -> tuple[Values, Flags]:
    """BIPIA's documents with insertions that were not trained on, against harmless documents."""
    bipia = np.char.startswith(held_out.sources, "bipia")
    whole = np.array([example.text != example.family for example in held_out.examples])
    harmless = (held_out.sources == DOCUMENT_SOURCE) & (with_kinds | (held_out.families == DOCUMENT_SOURCE))
    chosen = (bipia & whole) | harmless
    return held_out.log_odds[chosen], held_out.attacks[chosen]


def _alarms(held_out: HeldOut, *, foreign: bool) -> float:
    """False positives among the harmless texts that are, or are not, in another language, at the one threshold for all."""
    harmless = held_out.judged() & ~held_out.attacks
    threshold = threshold_at(held_out.log_odds[harmless], FALSE_POSITIVES)
    chosen = harmless & ((held_out.sources == OWN_MULTILINGUAL) == foreign)
    return _share(held_out.log_odds[chosen] >= threshold)


def _text(held_out: HeldOut, attacked: int, undone: float) -> str:
    odds, attacks = _judged(held_out)
    harmless = ~attacks
    foreign = int((held_out.sources == OWN_MULTILINGUAL).sum())
    recall = bootstrap(
        lambda rows: recall_at(odds[rows], attacks[rows], FALSE_POSITIVES), len(odds), rounds=200, groups=attacks
    )
    area = bootstrap(lambda rows: auc(odds[rows], attacks[rows]), len(odds), rounds=200, groups=attacks)
    alarms = float((probabilities(odds[harmless]) >= 0.5).mean())  # noqa: PLR2004 - the even chance
    found = float((probabilities(odds[attacks]) >= 0.5).mean())  # noqa: PLR2004 - as above
    return (
        "Five folds; each holds out whole attack techniques (direct and indirect together, and every attack written for this "
        "project that is of them or of several), the contexts of BIPIA, and harmless texts by groups: other languages as a "
        "whole. The few weights that join windows and rules are fitted on all held-out scores together. "
        f"Families never seen: AUC {area}, recall at 1 % false positives {recall} "
        f"({int(attacks.sum())} attacks without BIPIA, {int(harmless.sum())} harmless, of which {foreign} are not English). "
        f"At a probability of 0.5 {found:.3f} of them are found, and {alarms:.4f} of the harmless raise an alarm. "
        f"At the threshold of that recall {_alarms(held_out, foreign=False):.4f} of the English harmless texts raise one, and "
        f"{_alarms(held_out, foreign=True):.4f} of those in languages of which no harmless text had been seen. "
        f"Up to nine harmless words, chosen greedily and appended, undo {undone:.3f} of {attacked} detections. "
        "Many of the collected attacks are harmless by their words alone (a question about dinosaurs that a system prompt had "
        "forbidden), and more so the translated ones: no reader of the text can find them. BIPIA's insertions are ordinary "
        "requests; they are found in documents, by provenance, not in what a user writes."
    )


def _row(name: str, odds: Values, attacks: Flags) -> tuple[object, ...]:
    recalls = [recall_at(odds, attacks, share) for share in (FALSE_POSITIVES, _FEW_FALSE, _MANY_FALSE)]
    return (name, int(attacks.sum()), int((~attacks).sum()), auc(odds, attacks), *recalls)


_COLUMNS = ("what", "attacks", "harmless", "AUC", "recall at 1 %", "at 5 %", "at 10 %")


def _summary(kinds: dict[str, HeldOut]) -> Table:
    rows = []
    for name, held_out in kinds.items():
        english = held_out.sources != OWN_MULTILINGUAL
        rows.append(_row(name, *_judged(held_out)))
        rows.append(_row(f"{name}; harmless texts of the data set alone", *_judged(held_out, english)))
        untranslated = english & (held_out.sources != "cse_multilingual")
        rows.append(_row(f"{name}; that, without translated attacks", *_judged(held_out, untranslated)))
        judged = held_out.judged(with_indirect=True)
        rows.append(
            _row(f"{name}; with BIPIA, read as if a user wrote it", held_out.log_odds[judged], held_out.attacks[judged])
        )
    return Table("Attack families that were not trained on", _COLUMNS, rows)


def _documents(held_out: HeldOut) -> Table:
    return Table(
        "Inside documents and tool results: insertions that were not trained on",
        _COLUMNS,
        [
            _row("BIPIA's insertions against documents of all kinds", *_inserted(held_out)),
            _row("the same against tables, mails and encyclopaedic sentences", *_inserted(held_out, with_kinds=False)),
        ],
        "Recipes, manuals, mails and forum posts, full of requests themselves, are among the harmless documents; each kind is "
        "held out as a whole.",
    )


def _sources(examples: Sequence[InjectionExample], rules: InjectionRules, context: Context) -> Table:
    rows = [
        _row(f"{source}{' (own examples kept)' if own else ''}", odds, attacks)
        for own in (False, True)
        for source, odds, attacks in unseen_sources(examples, rules, context, with_own=own)
    ]
    return Table(
        "Sources that were not trained on",
        _COLUMNS,
        rows,
        "Without own examples nothing but the other sources is learned from. The harmless texts are held out as above.",
    )


def _families(strict: HeldOut, shipped: HeldOut) -> Table:
    rows = []
    names = sorted(set(strict.families[strict.judged(with_indirect=True) & strict.attacks].tolist()))
    for name in names:
        row: list[object] = [name]
        for held_out in (strict, shipped):
            harmless = held_out.judged() & ~held_out.attacks
            family = held_out.attacks & (held_out.families == name) & held_out.judged(with_indirect=True)
            chosen = harmless | family
            odds, attacks = held_out.log_odds[chosen], held_out.attacks[chosen]
            row += [auc(odds, attacks), recall_at(odds, attacks, FALSE_POSITIVES)]
        rows.append([name, int(family.sum()), *row[1:]])
    columns = ("family", "attacks", "AUC", "recall at 1 %", "AUC, own kept", "recall, own kept")
    return Table("By family", columns, rows, f"`{INDIRECT}`: BIPIA's, read as if a user wrote them.")


def _lengths(held_out: HeldOut) -> Table:
    lengths = np.array([len(example.text) for example in held_out.examples])
    judged = held_out.judged()
    threshold = threshold_at(held_out.log_odds[judged & ~held_out.attacks], FALSE_POSITIVES)
    rows = []
    for low, high in zip((0, *_BANDS), (*_BANDS, 1 << 30), strict=True):
        band = judged & (lengths >= low) & (lengths < high)
        alarm = held_out.log_odds >= threshold
        attacks, harmless = band & held_out.attacks, band & ~held_out.attacks
        name = f"{low} to {high}" if high < 1 << 30 else f"{low} and more"
        rows.append((name, int(attacks.sum()), _share(alarm[attacks]), int(harmless.sum()), _share(alarm[harmless])))
    return Table("By length, at one threshold", ("characters", "attacks", "recall", "harmless", "false positives"), rows)


def _false_alarms(held_out: HeldOut) -> Table:
    judged = held_out.judged()
    threshold = threshold_at(held_out.log_odds[judged & ~held_out.attacks], FALSE_POSITIVES)
    rows = []
    for source in (*HARMLESS, *sorted(set(held_out.sources[~held_out.attacks].tolist()) - set(HARMLESS))):
        harmless = (held_out.sources == source) & ~held_out.attacks
        rows.append((source, int(harmless.sum()), _share(held_out.log_odds[harmless] >= threshold)))
    return Table("False positives by source, at the same threshold", ("source", "harmless", "false positives"), rows)


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _harmless_words(held_out: HeldOut, rules: InjectionRules, context: Context) -> tuple[float, int]:
    """Which share of detections the best up to nine appended words undo, and of how many attacks that were tried."""
    words = " ".join(read_sections(context.own("injection/harmless_words.txt"))["words"]).split()
    judged = held_out.judged()
    threshold = threshold_at(held_out.log_odds[judged & ~held_out.attacks], FALSE_POSITIVES)
    detected = np.flatnonzero(judged & held_out.attacks & (held_out.log_odds >= threshold))
    chosen = context.random("injection report").permutation(detected)[:_ATTACKED]
    powers = Powers(MAX_BYTES)
    undone = 0
    for number in chosen.tolist():
        model = held_out.models[int(held_out.folds[number])]

        def odds(text: str, windows: WindowModel = model) -> float:
            return held_out.weighing.log_odds(evidence_of(text, windows, rules, powers))

        text = held_out.examples[number].text
        tried = {word: odds(f"{text} {word}") for word in words}
        promising = sorted(words, key=lambda word: tried[word])[:_PROMISING]
        for _ in range(_MOST_WORDS):
            text = min((f"{text} {word}" for word in promising), key=odds)
            if odds(text) < threshold:
                undone += 1
                break
    return undone / max(1, len(chosen)), len(chosen)


def _plots(held_out: HeldOut) -> tuple[LinePlot, ...]:
    odds, attacks = _judged(held_out)
    shares = np.geomspace(1e-3, 1, 60)
    recalls = [recall_at(odds, attacks, share) if share < 1 else 1.0 for share in shares]
    # As it is meant: where one text in ten attacks.
    curve = reliability(probabilities(odds), attacks)
    return (
        LinePlot(
            "injection_recall",
            "Injection, unseen families: recall by false positives",
            "false positives",
            "recall",
            (Series("all", shares.tolist(), recalls),),
            logarithmic=True,
        ),
        LinePlot(
            "injection_reliability",
            "Injection, unseen families: probability and frequency (the test holds more than one attack in ten)",
            "probability",
            "frequency",
            (Series("measured", curve.predicted.tolist(), curve.observed.tolist()), Series("ideal", (0, 1), (0, 1), "dashed")),
        ),
    )
