"""Fits the injection head's linear models: whole texts first, then the windows that the model so far finds worst.

Of an attack only its worst windows are taken for attacks (multiple-instance learning: most of a long attack is harmless
prose); of a harmless text any window is harmless, so its worst ones and some at random are learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, vstack

from router_extproc.analysis.injection import Evidence, Weighing
from router_extproc.analysis.injection_windows import (
    BITS,
    KINDS,
    MAX_BYTES,
    SMALL,
    Reading,
    Segments,
    WindowModel,
    bounds,
    first_places,
    folded_part,
    quantised,
    read,
    segments,
)
from router_extproc.analysis.ngrams import Powers

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Part = tuple[int, int, int]  # number of the text, first and last byte

# Ridge penalty of the n-gram weights and of the weighing, chosen by cross-validation over families.
PENALTY, WEIGHING_PENALTY = 4e-6, 1e-3
_ROUNDS, _STEPS, _MEMORY = 2, 25, 6
_WEIGHT_OF_WINDOWS, _RANDOM_WINDOWS = 0.7, 2
# Attacks are rare: probabilities are for a share of one in ten.
ATTACK_SHARE = 0.1


def readings(texts: Sequence[str]) -> list[Reading]:
    """The n-grams of texts, as the head reads them."""
    powers = Powers(MAX_BYTES)
    return [read(folded_part(text)[0], powers) for text in texts]


def rows_of(texts: Sequence[Reading], parts: Sequence[Part]) -> csr_matrix:
    """One sparse row for each part of a text, such that the product with the weights is what ``WindowModel`` computes."""
    columns: list[NDArray[np.int64]] = []
    values: list[NDArray[np.float32]] = []
    ends = [0]
    for number, start, end in parts:
        whole = start == 0 and end == texts[number].length
        part = Segments(np.array([start]), np.array([end]), slice(1), slice(0), slice(0))
        count = ends[-1]
        for kind, (buckets, _) in enumerate(texts[number].kinds):
            low, high = (int(bound[0]) for bound in bounds(texts[number], kind, part))
            chosen = buckets[first_places(buckets)] if whole else buckets[low:high]
            columns.append(chosen + (kind << BITS))
            values.append(np.full(len(chosen), 1 / np.sqrt(max(1, len(chosen))), np.float32))
            count += len(chosen)
        ends.append(count)
    matrix = csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=(len(parts), KINDS << BITS))
    matrix.sum_duplicates()
    return matrix


def fit_windows(
    texts: Sequence[Reading], attacks: Flags, weights: Values, chosen: NDArray[np.intp], random: np.random.Generator
) -> WindowModel:
    """A model of the chosen texts."""
    whole = rows_of(texts, [(int(number), 0, texts[number].length) for number in chosen])
    solution = _fit(whole, attacks[chosen], weights[chosen], None)
    for _ in range(_ROUNDS):
        parts = list(_worst_windows(_model(solution), texts, attacks, chosen, random))
        numbers = np.array([number for number, _, _ in parts], np.intp)
        rows = vstack([whole, rows_of(texts, parts)]).tocsr()
        labels = np.concatenate([attacks[chosen], attacks[numbers]])
        counts = np.concatenate([weights[chosen], weights[numbers] * _WEIGHT_OF_WINDOWS])
        solution = _fit(rows, labels, counts, solution)
    return _model(solution)


def _worst_windows(
    model: WindowModel, texts: Sequence[Reading], attacks: Flags, chosen: NDArray[np.intp], random: np.random.Generator
) -> Sequence[Part]:
    found: list[Part] = []
    for number in chosen:
        if texts[number].length <= SMALL:
            continue
        parts = segments(texts[number].length)
        scores = model.scores(texts[number], parts)
        for windows in (parts.small, parts.large):
            if windows.stop - windows.start < 2:  # noqa: PLR2004 - one window is the whole text again
                continue
            places = {windows.start + int(np.argmax(scores[windows]))}
            if not attacks[number]:
                places.update(random.integers(windows.start, windows.stop, _RANDOM_WINDOWS).tolist())
            found += [(int(number), int(parts.starts[place]), int(parts.ends[place])) for place in sorted(places)]
    return found


def _model(solution: Values) -> WindowModel:
    # In 8 bits as it will be stored, so that what is measured is what is shipped.
    weights, scale = quantised(solution[:-1].astype(np.float32).reshape(KINDS, -1))
    return WindowModel(weights * scale, float(solution[-1]))


def _fit(rows: csr_matrix, attacks: Flags, weights: Values, start: Values | None) -> Values:
    """Logistic regression; attacks and harmless texts weigh the same in total."""
    columns = rows.T.tocsr()

    def products(weight: Values) -> Values:
        return np.asarray(rows @ weight[:-1] + weight[-1])

    def gradient(slope: Values) -> Values:
        return np.concatenate([np.asarray(columns @ slope), [slope.sum()]])

    penalty = np.full(rows.shape[1] + 1, PENALTY)
    penalty[-1] = 0
    even = balanced(attacks, weights, 0.5)
    return _minimise(products, gradient, attacks=attacks, weights=even, penalty=penalty, start=start)


def balanced(attacks: Flags, weights: Values, share: float) -> Values:
    """Weights that sum to 1, attacks' to `share`."""
    return np.asarray(
        np.where(attacks, weights * share / weights[attacks].sum(), weights * (1 - share) / weights[~attacks].sum())
    )


def _minimise(
    products: Callable[[Values], Values],
    gradient: Callable[[Values], Values],
    *,
    attacks: Flags,
    weights: Values,
    penalty: Values,
    start: Values | None = None,
    limits: Sequence[tuple[float | None, float | None]] | None = None,
    steps: int = _STEPS,
) -> Values:
    """Penalised logistic loss; `products` maps a solution to log-odds, `gradient` what they want to what it wants."""
    signs = np.where(attacks, 1.0, -1.0)

    def loss(solution: Values) -> tuple[float, Values]:
        margins = products(solution) * signs
        slope = -weights * signs / (1 + np.exp(np.clip(margins, -500, 500)))
        value = float((weights * np.logaddexp(0, -margins)).sum() + (penalty * solution**2).sum() / 2)
        return value, gradient(slope) + penalty * solution

    first = np.zeros(len(penalty)) if start is None else start
    options = {"maxiter": steps, "maxcor": _MEMORY}
    return np.asarray(minimize(loss, first, jac=True, method="L-BFGS-B", bounds=limits, options=options).x)


def fit_weighing(evidence: Sequence[Evidence], names: Sequence[str], attacks: Flags, weights: Values) -> Weighing:
    """How held-out evidence is weighed: rules and windows count for an attack or not at all, length against one."""
    rows = evidence_rows(evidence, names)
    learned = rows.shape[1] - len(names)
    limits: list[tuple[float | None, float | None]] = [(0, None) for _ in range(rows.shape[1])]
    limits[learned - 1] = (None, 0)
    penalty = np.array([WEIGHING_PENALTY] * rows.shape[1] + [0.0])
    solution = _minimise(
        lambda weight: np.asarray(rows @ weight[:-1] + weight[-1]),
        lambda slope: np.concatenate([slope @ rows, [slope.sum()]]),
        attacks=attacks,
        weights=balanced(attacks, weights, ATTACK_SHARE),
        penalty=penalty,
        limits=[*limits, (None, None)],
        steps=400,
    )
    rules = {name: float(weight) for name, weight in zip(names, solution[learned:-1], strict=True) if weight > 0}
    return Weighing(solution[:learned], rules, float(solution[-1]))


def evidence_rows(evidence: Sequence[Evidence], names: Sequence[str]) -> Values:
    """Evidence as a matrix: what was learned, then one column a rule."""
    place = {name: number for number, name in enumerate(names)}
    learned = np.array([one.learned for one in evidence])
    rules = np.zeros((len(evidence), len(names)))
    for row, one in zip(rules, evidence, strict=True):
        row[[place[hit.name] for hit in one.hits]] = 1
    return np.hstack([learned, rules])
