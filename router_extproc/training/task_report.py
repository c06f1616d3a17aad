"""How well the kind of work is told: on narrow sources, on real prompts, as a probability.

Everything is cross-validated: a fold's texts are read by a head, and turned into probabilities by a calibration, that have
not seen them. Real prompts are the judge: just-eval with its own tags, arena-hard and self-instruct labelled by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.tasks import TASKS, UNSURE
from router_extproc.training.examples import FOLDS
from router_extproc.training.linear_fit import Values, read_features
from router_extproc.training.metrics import auc, bootstrap, confusion, macro_f1, reliability
from router_extproc.training.pipeline import Context
from router_extproc.training.report import LinePlot, MatrixPlot, Section, Series, Table
from router_extproc.training.task_texts import NARROW, REAL, task_examples
from router_extproc.training.tasks import HeldOut, calibrations, cross_validated

# The two sets that targets are set on; self-instruct's prompts were written for a task, these were asked by people.
_ASKED = ("justeval", "arena_hard")
_BINS = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """Held-out texts with their probabilities, [n, 13]."""

    held_out: HeldOut
    probabilities: Values

    @property
    def names(self) -> list[str]:
        """The likeliest kind of each text."""
        return [TASKS[place] for place in self.probabilities.argmax(axis=1)]

    def chosen(self, *sources: str) -> NDArray[np.intp]:
        """The places of the texts of these sources."""
        return np.flatnonzero(np.isin(self.held_out.sources, sources))


def report(context: Context, artefact: Path) -> Section:
    """Accuracy on narrow sources, each kind on real prompts, confusion, calibration, and what abstaining is worth."""
    measured = measure(context, artefact)
    narrow, asked, real = measured.chosen(NARROW), measured.chosen(*_ASKED), measured.chosen(*REAL)
    right = np.array([name in example.labels for name, example in zip(measured.names, measured.held_out.examples, strict=True)])
    accuracy = bootstrap(lambda rows: float(right[narrow][rows].mean()), len(narrow), context.seed)
    table = _by_source(measured, right)
    kinds, figures = _by_kind(measured, asked, context.seed)
    matrix = _confusion(measured, real)
    curve = reliability(measured.probabilities[real].ravel(), measured.held_out.labels[real].ravel(), _BINS)
    sure = measured.probabilities.max(axis=1) >= UNSURE
    return Section(
        title="Tasks",
        text=(
            f"Five-fold cross-validation; texts of one template or prompt share a fold. Right means: among the labels of the "
            f"text. Narrow sources: {accuracy} (n = {len(narrow)}). On real prompts {right[real].mean():.3f} are right "
            f"(n = {len(real)}); {sure[real].mean():.3f} of them have a kind of at least {UNSURE}, and of these "
            f"{right[real][sure[real]].mean():.3f} are right, of the others {_mean(right[real][~sure[real]]):.3f}. "
            f"Expected calibration error on real prompts, over all kinds: {curve.error:.3f}."
        ),
        tables=(table, kinds),
        plots=(
            MatrixPlot("tasks_confusion", "Real prompts: main kind (rows) and the kind named", TASKS, matrix.tolist()),
            LinePlot(
                "tasks_reliability",
                "Tasks, real prompts: probability and frequency",
                "probability",
                "frequency",
                (
                    Series("measured", curve.predicted.tolist(), curve.observed.tolist()),
                    Series("ideal", (0, 1), (0, 1), "dashed"),
                ),
            ),
        ),
        figures={
            **figures,
            "tasks.heldout.accuracy": accuracy.value,
            "tasks.real.accuracy": float(right[real].mean()),
            "tasks.real.macro_f1": macro_f1(matrix),
            "tasks.real.calibration_error": curve.error,
            "tasks.real.sure": float(sure[real].mean()),
            "tasks.real.accuracy_when_sure": float(right[real][sure[real]].mean()),
        },
    )


def measure(context: Context, artefact: Path) -> Measured:
    """Every training text read by heads and calibrations that have not seen it."""
    examples = task_examples(context)
    features = read_features([example.text for example in examples], StaticEncoder.load(artefact))
    held_out = cross_validated(examples, features, context)
    folds = np.array([example.fold for example in examples])
    probabilities = np.zeros_like(held_out.logits)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        slope, offset = calibrations(_part(held_out, inside))
        probabilities[outside] = 1 / (1 + np.exp(-(held_out.logits[outside] * slope + offset)))
    return Measured(held_out, probabilities)


def _part(held_out: HeldOut, rows: NDArray[np.intp]) -> HeldOut:
    return replace(
        held_out,
        examples=[held_out.examples[row] for row in rows.tolist()],
        logits=held_out.logits[rows],
        labels=held_out.labels[rows],
        judged=held_out.judged[rows],
    )


def _by_source(measured: Measured, right: NDArray[np.bool_]) -> Table:
    sources = measured.held_out.sources
    rows = [(name, int((sources == name).sum()), float(right[sources == name].mean())) for name in np.unique(sources)]
    return Table("The named kind is right, by source", ("source", "texts", "accuracy"), rows)


def _by_kind(measured: Measured, asked: NDArray[np.intp], seed: int) -> tuple[Table, dict[str, float]]:
    """Each kind on the prompts that people asked, and on all that are real or from templates."""
    rows: list[Sequence[object]] = []
    figures: dict[str, float] = {}
    everything = np.arange(len(measured.held_out.examples))
    for place, name in enumerate(TASKS):
        cells: list[object] = [name]
        for chosen in (asked, everything):
            judged = chosen[measured.held_out.judged[chosen, place] > 0]
            scores, labels = measured.probabilities[judged, place], measured.held_out.labels[judged, place]
            cells.append(int(labels.sum()))
            if 0 < labels.sum() < len(labels):
                interval = bootstrap(_auc_of(scores, labels), len(labels), seed, rounds=200)
                cells.append(str(interval))
                if chosen is asked:
                    figures[f"tasks.real.{name}.auc"] = interval.value
            else:
                cells.append("-")
        rows.append(cells)
    columns = ("kind", "asked: positives", "asked: AUC", "all texts: positives", "all texts: AUC")
    return Table(f"One kind against the rest; asked = {' and '.join(_ASKED)}", columns, rows), figures


def _auc_of(scores: Values, labels: Values) -> Callable[[NDArray[np.intp]], float]:
    def figure(rows: NDArray[np.intp]) -> float:
        return auc(scores[rows], labels[rows])

    return figure


def _confusion(measured: Measured, real: NDArray[np.intp]) -> NDArray[np.int64]:
    """A named kind that is among the labels counts as the main one: several may hold."""
    true = [measured.held_out.examples[row].labels for row in real.tolist()]
    named = [measured.names[row] for row in real.tolist()]
    return confusion(
        named, [name if name in labels else labels[0] for name, labels in zip(named, true, strict=True)], list(TASKS)
    )


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
