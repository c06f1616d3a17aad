"""How much of the gap between a weak and a strong model the routing score recovers for how many calls of the strong one.

Definitions as in RouteLLM (arXiv 2406.18665): APGR, CPT(50 %), CPT(80 %), strong = gpt-4-1106-preview, weak = Mixtral-8x7B.
Nothing here changes the artefact; the 1,531 labels refit a copy, whose figures are on the other questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.routing import ROUTING_FILE
from router_extproc.policy.auto import QUALITY
from router_extproc.training.metrics import Interval, bootstrap, cost_quality, reliability
from router_extproc.training.pipeline import Context
from router_extproc.training.refit import fit_outcomes, read_rows, refitted_arrays, shipped_log_odds
from router_extproc.training.report import LinePlot, Section, Series, Table

SETS = {"mtbench": "eval_mtbench", "mmlu": "eval_mmlu", "gsm8k": "eval_gsm8k"}
TITLES = {"mtbench": "MT-Bench", "mmlu": "MMLU", "gsm8k": "GSM8K"}
GOLD = "mmlu_gold"
# RouteLLM's tables 1 to 3, on the full sets (72, 14,037 and 1,307 rows): APGR, CPT(50 %), CPT(80 %).
PUBLISHED = {
    "mtbench": ("RouteLLM's best, matrix factorisation with judged labels", 0.802, 0.134, 0.313),
    "mmlu": ("RouteLLM's best, causal LLM with golden labels", 0.603, 0.354, 0.703),
    "gsm8k": ("RouteLLM's best, causal LLM 8B with judged labels", 0.622, 0.336, 0.633),
}
_HALF, _MOST = 0.5, 0.8
_ROUNDS = 500
_TIERS = ("economy", "standard", "premium")
_REAL = ("justeval", "arena_hard")
_POINTS = 200

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Prompts of one evaluation file with their labels and our score."""

    prompts: Sequence[str]
    strong: Values
    weak: Values
    groups: Sequence[str]
    scores: Values

    def apgr(self, scores: Values, seed: int) -> Interval:
        """With its interval over resampled prompts."""

        def figure(rows: NDArray[np.intp]) -> float:
            return cost_quality(scores[rows], self.strong[rows], self.weak[rows]).apgr

        return bootstrap(figure, len(scores), seed, _ROUNDS)

    @property
    def rivals(self) -> Mapping[str, Values]:
        """Other scores of the same prompts, by name."""
        gain = self.strong - self.weak
        groups = np.array(self.groups)
        by_group = {name: float(gain[groups == name].mean()) for name in np.unique(groups)}
        return {
            "prompt length": np.array([float(len(prompt)) for prompt in self.prompts]),
            "category known, in-sample": np.array([by_group[name] for name in self.groups]),
            "oracle": gain,
        }


def report(context: Context, artefact: Path) -> Section:
    """Every set beside its rivals, refitted with golden labels, calibration, and where real prompts would go."""
    analyser = Analyser(Classifier.load(artefact))
    judged = {name: _judged(context, card, analyser) for name, card in SETS.items()}
    figures: dict[str, float] = {}
    rows: list[tuple[object, ...]] = []
    for name, of in judged.items():
        rows += _compared(name, of, context.seed)
        figures[f"routing.{name}.apgr"] = cost_quality(of.scores, of.strong, of.weak).apgr
    refitted = _refitted(context, artefact, judged["mmlu"])
    figures["routing.mmlu.apgr_refitted"] = refitted.value
    calibration = reliability(judged["mmlu"].scores, 1 - judged["mmlu"].weak)
    figures["routing.mmlu.calibration_error"] = calibration.error
    columns = ("set", "score", "n", "APGR [95 %]", "CPT(50 %)", "CPT(80 %)")
    curve = LinePlot(
        "routing_calibration",
        "MMLU: probability that economy is not good enough, and how often the weak model failed",
        "predicted",
        "observed",
        (
            Series("equal counts", calibration.predicted.tolist(), calibration.observed.tolist(), "points"),
            Series("perfect", (0.0, 1.0), (0.0, 1.0), "dashed"),
        ),
    )
    return Section(
        title="Routing",
        text=(
            "One score; no label of these rows was ever fitted. Which readings it is made of, and what each counts, was "
            "settled with about sixteen looks at these figures. Ties share their mean. Always the weak model recovers nothing, "
            "always the strong one all: the two ends of every curve. MT-Bench has too few rows for a verdict, and figures of "
            "RouteLLM are of the full sets. "
            f"Refitted with {GOLD} (as many labels of MMLU as RouteLLM's), APGR on the other questions: {refitted}. "
            f"The probability itself means the economy tier of today, not Mixtral-8x7B: against Mixtral's failures on MMLU its "
            f"expected calibration error is {calibration.error:.3f}."
        ),
        tables=(
            Table("Share of the gap recovered", columns, rows),
            Table(f"Real prompts by tier at quality {QUALITY:g}", ("prompts", "n", *_TIERS), _shares(context, analyser)),
        ),
        plots=(*(_curves(name, of) for name, of in judged.items()), curve),
        figures=figures,
    )


def _judged(context: Context, card: str, analyser: Analyser) -> Judged:
    rows = context.rows(card)
    prompts = [row["prompt"] for row in rows]
    scores = []
    with context.progress.counting(card, len(rows)) as advance:
        for prompt in prompts:
            scores.append(_adequacy(analyser, prompt)[0])
            advance(1)
    strong, weak = (np.array([float(row[name]) for row in rows]) for name in ("strong", "weak"))
    return Judged(prompts, strong, weak, [row["group"] for row in rows], 1 - np.array(scores))


def _adequacy(analyser: Analyser, prompt: str) -> tuple[float, float, float]:
    body = msgspec.json.encode({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    return analyser.analyse(body).adequacy or (0.0, 0.0, 0.0)


def _compared(name: str, of: Judged, seed: int) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for title, scores in {"this classifier": of.scores, **of.rivals}.items():
        curve = cost_quality(scores, of.strong, of.weak)
        count = len(of.prompts)
        rows.append((TITLES[name], title, count, of.apgr(scores, seed), curve.calls_for(_HALF), curve.calls_for(_MOST)))
    random = np.random.default_rng(seed)
    chance = [cost_quality(random.random(len(of.prompts)), of.strong, of.weak).apgr for _ in range(_ROUNDS)]
    low, high = np.percentile(chance, [2.5, 97.5])
    rows.append((TITLES[name], "random", len(of.prompts), Interval(float(np.mean(chance)), low, high), _HALF, _MOST))
    title, apgr, half, most = PUBLISHED[name]
    rows.append((TITLES[name], title, "full set", apgr, half, most))
    return rows


def _refitted(context: Context, artefact: Path, mmlu: Judged) -> Interval:
    """APGR on the questions outside the golden labels of the score refitted with these."""
    with np.load(artefact / ROUTING_FILE, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    encoder = StaticEncoder.load(artefact)
    gold = context.rows(GOLD)
    # The cheap model was not good enough where the strong one was better.
    not_enough = np.array([float(float(row["strong"]) > float(row["weak"])) for row in gold])
    rows = read_rows([row["prompt"] for row in gold], arrays, encoder, context)
    before = shipped_log_odds(rows, arrays)
    fitted = fit_outcomes(rows, before, not_enough, meaning=encoder.dimensions, seed=context.seed)
    new = refitted_arrays(arrays, fitted)
    known = {row["prompt"] for row in gold}
    other = np.flatnonzero([prompt not in known for prompt in mmlu.prompts])
    scores = shipped_log_odds(read_rows([mmlu.prompts[int(row)] for row in other], new, encoder, context), new)
    strong, weak = mmlu.strong[other], mmlu.weak[other]
    return bootstrap(lambda rows: cost_quality(scores[rows], strong[rows], weak[rows]).apgr, len(other), context.seed, _ROUNDS)


def _shares(context: Context, analyser: Analyser) -> list[tuple[object, ...]]:
    texts = {card: context.texts(card) for card in _REAL}
    texts["self-instruct"] = [row["text"] for row in context.rows("category") if row["source"].startswith("selfinstruct")]
    rows: list[tuple[object, ...]] = []
    for name, prompts in texts.items():
        tiers = [_tier(_adequacy(analyser, prompt)) for prompt in prompts]
        rows.append((name, len(prompts), *(tiers.count(tier) / len(prompts) for tier in range(len(_TIERS)))))
    return rows


def _tier(adequacy: Sequence[float]) -> int:
    return next((tier for tier, enough in enumerate(adequacy) if enough >= QUALITY), len(_TIERS) - 1)


def _curves(name: str, of: Judged) -> LinePlot:
    series = []
    for title, scores in {"this classifier": of.scores, **of.rivals}.items():
        curve = cost_quality(scores, of.strong, of.weak)
        chosen = np.unique(np.linspace(0, len(curve.calls) - 1, _POINTS).astype(int))
        style = "line" if title == "this classifier" else "dashed"
        series.append(Series(title, curve.calls[chosen].tolist(), curve.recovered[chosen].tolist(), style))
    series.append(Series("random", (0.0, 1.0), (0.0, 1.0), "dashed"))
    return LinePlot(
        f"routing_{name}", f"{TITLES[name]}: gap recovered by calls", "share of strong calls", "gap recovered", series
    )
