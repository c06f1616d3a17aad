"""How well risky domains are told: on exam questions of every subject, as people ask, and on everyday requests.

Everything is cross-validated as in ``task_report``; thresholds and calibration of a fold come from the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.risk import NONE, RISKS
from router_extproc.training.examples import FOLDS
from router_extproc.training.linear_fit import Values, read_features
from router_extproc.training.metrics import Reliability, bootstrap, confusion, macro_f1, reliability
from router_extproc.training.pipeline import Context
from router_extproc.training.report import LinePlot, MatrixPlot, Section, Series, Table
from router_extproc.training.risk import BITS, HeldOut, cross_validated, decide
from router_extproc.training.risk_texts import BARE, EXAM, risk_examples

_IN_EXAM = ("medical", "legal", "financial")
_BINS = 10


def report(context: Context, artefact: Path) -> Section:
    """Accuracy and recall on held-out exam questions, recall on templates, false alarms on everyday requests."""
    held_out = measure_evidence(context, artefact)
    probabilities, names = decided(held_out)
    domains, sources = held_out.domains, held_out.sources
    exam = np.flatnonzero(sources == EXAM)
    right = (names == domains)[exam]
    accuracy = bootstrap(lambda rows: float(right[rows].mean()), len(exam), context.seed)
    labels = np.stack([domains == risk for risk in RISKS], axis=1)
    curve = reliability(probabilities[exam][:, :3].ravel(), labels[exam][:, :3].ravel(), _BINS)
    harmless = _false_alarms(names, domains, sources)
    all_names = [*_IN_EXAM, NONE]
    matrix = confusion([n if n in _IN_EXAM else NONE for n in names[exam]], domains[exam].tolist(), all_names)
    figures = {
        "risk.heldout.accuracy": accuracy.value,
        **_recalls(names, domains, sources),
        "risk.heldout.calibration_error": curve.error,
        "risk.real.false_alarms": _share(harmless, "real"),
        "risk.heldout.macro_f1": macro_f1(matrix),
    }
    return Section(
        title="Risks",
        text=(
            "Five-fold cross-validation in which every subject has a part in each fold; a question and the same without its "
            "options share a fold, so do the texts of one template. Exam questions are those of MMLU, whose subjects are "
            f"mapped to domains in training/data/risk/subjects.json. Accuracy on exam questions {accuracy} (n = {len(exam)}), "
            f"macro-F1 {figures['risk.heldout.macro_f1']:.3f}, expected calibration error {curve.error:.3f}. The literal marks "
            "of secrecy and self-harm are not counted here: this is what the trained head finds by itself."
        ),
        tables=(
            Table(
                "Each domain",
                ("domain", "exam questions", "recall", "as people ask", "recall", "precision on exam questions"),
                _each_domain(names, domains, sources),
            ),
            Table("False alarms on harmless texts", ("source", "texts", "share named risky"), harmless),
        ),
        plots=(
            MatrixPlot("risk_confusion", "Exam questions: domain (rows) and the domain named", all_names, matrix.tolist()),
            _calibration_plot(curve),
        ),
        figures=figures,
    )


def measure_evidence(context: Context, artefact: Path) -> HeldOut:
    """Every training text read by heads that have not seen it."""
    examples = risk_examples(context)
    encoder = StaticEncoder.load(artefact)
    features = read_features([example.text for example in examples], encoder, bits=BITS, with_wording=False)
    return cross_validated(examples, features, context)


def decided(held_out: HeldOut) -> tuple[Values, NDArray[np.str_]]:
    """Probabilities and names, each fold by the calibration and the thresholds of the others."""
    folds = np.array([example.fold for example in held_out.examples])
    probabilities = np.zeros_like(held_out.evidence)
    names = np.full(len(folds), NONE, dtype=object)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        decision = decide(HeldOut([held_out.examples[row] for row in inside.tolist()], held_out.evidence[inside]))
        probabilities[outside] = decision.probabilities(held_out.evidence[outside])
        names[outside] = decision.names(held_out.evidence[outside])
    return probabilities, names.astype(str)


def _parts(sources: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    """Which texts are exam questions, and which are written as people ask."""
    return {"heldout": sources == EXAM, "people": ~np.isin(sources, (EXAM, BARE))}


def _recalls(names: NDArray[np.str_], domains: NDArray[np.str_], sources: NDArray[np.str_]) -> dict[str, float]:
    """The recall of each risk in each part that has texts of it."""
    figures: dict[str, float] = {}
    for risk in RISKS:
        for name, part in _parts(sources).items():
            found = (names == risk)[(domains == risk) & part]
            if len(found):
                figures[f"risk.{name}.recall.{risk}"] = float(found.mean())
    return figures


def _each_domain(names: NDArray[np.str_], domains: NDArray[np.str_], sources: NDArray[np.str_]) -> list[Sequence[object]]:
    """Each risk with how many texts each part has of it, how many of these are found, and how many findings are right."""
    recalls = _recalls(names, domains, sources)
    rows: list[Sequence[object]] = []
    for risk in RISKS:
        of = domains == risk
        cells: list[object] = [risk]
        for name, part in _parts(sources).items():
            cells += [int((of & part).sum()), recalls.get(f"risk.{name}.recall.{risk}", float("nan"))]
        named = (names == risk) & (sources == EXAM)
        cells.append(float(of[named].mean()) if risk in _IN_EXAM and named.any() else float("nan"))
        rows.append(cells)
    return rows


def _calibration_plot(curve: Reliability) -> LinePlot:
    return LinePlot(
        "risk_reliability",
        "Risks, exam questions: probability and frequency",
        "probability",
        "frequency",
        (
            Series("measured", curve.predicted.tolist(), curve.observed.tolist()),
            Series("ideal", (0, 1), (0, 1), "dashed"),
        ),
    )


def _false_alarms(names: NDArray[np.str_], domains: NDArray[np.str_], sources: NDArray[np.str_]) -> list[Sequence[object]]:
    harmless = domains == NONE
    rows: list[Sequence[object]] = []
    for source in np.unique(sources[harmless]):
        of = harmless & (sources == source)
        rows.append((str(source), int(of.sum()), float((names[of] != NONE).mean())))
    return rows


def _share(rows: list[Sequence[object]], source: str) -> float:
    return next((float(str(share)) for name, _, share in rows if name == source), float("nan"))
