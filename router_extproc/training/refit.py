"""Refits the routing score on outcomes of one's own: prompts with whether the cheap model was good enough.

A ridge over all features is added to the shipped score by a logistic regression of three numbers (how much each counts, and
an offset), so that a short log only shifts and stretches what is shipped. What is kept must be better than it, measured on
outcomes that took no part in the fit.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import Ridge

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.routing import PRODUCTS, ROUTING_FILE, RoutingFeatures, RoutingHead
from router_extproc.analysis.word_classes import WordClasses
from router_extproc.errors import TrainingError
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.routing import read_countable

FEWEST, FEWEST_OF_EACH = 100, 20
PENALTIES = (300.0, 1000.0, 3000.0, 10000.0)
# What meaning, countable features and squares count beside each other, chosen on 1,531 outcomes by cross-validation.
_VECTOR_UNITS, _COUNTABLE_UNITS, _SQUARE_UNITS = 10.0, 0.5, 0.3
_FOLDS = 8
# Pulls the three numbers of the logistic regression to the shipped score; worth so many outcomes.
_STIFFNESS = 4.0

# An order that is worse by no more than this is as good: so much differs by the folds alone.
_AUC_SLACK = 0.01

Values = NDArray[np.float64]


class Outcome(msgspec.Struct, frozen=True):
    """One line of a log."""

    prompt: str
    cheap_was_good_enough: bool | int


class Fitted(NamedTuple):
    """A refit: weights over all features, the shipped log-odds' weight last, and an offset; together log-odds."""

    weights: Values
    offset: float
    penalty: float
    held_out: Values  # log-odds of each outcome by a fit that did not see it


def refit(context: Context, log: Path) -> Metrics:
    """Changes ``routing.npz`` in ``context.out``; returns how the old and the new score do on outcomes not seen.

    Raises:
        TrainingError: the log cannot be read or is too short, or the new score would be no better.
    """
    outcomes = read_log(log)
    path = context.out / ROUTING_FILE
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    encoder = StaticEncoder.load(context.out)
    not_enough = np.array([1.0 - bool(outcome.cheap_was_good_enough) for outcome in outcomes])
    rows = read_rows([outcome.prompt for outcome in outcomes], arrays, encoder, context)
    before = shipped_log_odds(rows, arrays)
    fitted = fit_outcomes(rows, before, not_enough, meaning=encoder.dimensions, seed=context.seed)
    losses = log_loss(before, not_enough), log_loss(fitted.held_out, not_enough)
    figures = {
        "outcomes": len(outcomes),
        "cheap_was_good_enough": float(1 - not_enough.mean()),
        "log_loss_before": losses[0],
        "log_loss_held_out": losses[1],
        "auc_before": auc(before, not_enough),
        "auc_held_out": auc(fitted.held_out, not_enough),
        "penalty": fitted.penalty,
    }
    _require_no_worse(figures)
    np.savez_compressed(path, allow_pickle=False, **refitted_arrays(arrays, fitted))
    return figures


def _require_no_worse(figures: Mapping[str, float]) -> None:
    """Probabilities must have become better, and the order of prompts, by which routes choose, no worse.

    Raises:
        TrainingError: they have not; says by which figures.
    """
    worse = []
    before, after = figures["log_loss_before"], figures["log_loss_held_out"]
    if after >= before:
        worse.append(f"log loss {after:.4f}, before {before:.4f}")
    before, after = figures["auc_before"], figures["auc_held_out"]
    if after < before - _AUC_SLACK:
        worse.append(f"AUC {after:.3f}, before {before:.3f}")
    if worse:
        raise TrainingError(
            f"the refitted score is no better on outcomes it has not seen ({'; '.join(worse)}): kept as it is. "
            f"More outcomes help; there were {figures['outcomes']}"
        )


def read_log(path: Path) -> list[Outcome]:
    """The outcomes of a file of JSON lines; further fields of a line are not looked at.

    Raises:
        TrainingError: a line is none, or there are too few, or too few of one kind.
    """
    outcomes: list[Outcome] = []
    try:
        lines = path.read_bytes().removeprefix(BOM_UTF8).splitlines()
    except OSError as error:
        raise TrainingError(f"the log cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            outcomes.append(msgspec.json.decode(line, type=Outcome, strict=False))
            if outcomes[-1].cheap_was_good_enough not in (0, 1):
                raise msgspec.ValidationError(f"cheap_was_good_enough is {outcomes[-1].cheap_was_good_enough}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            expected = '{"prompt": "...", "cheap_was_good_enough": 0 or 1}'
            raise TrainingError(f"{path}:{number}: {error}; expected {expected}") from error
    good = sum(bool(outcome.cheap_was_good_enough) for outcome in outcomes)
    if len(outcomes) < FEWEST or min(good, len(outcomes) - good) < FEWEST_OF_EACH:
        raise TrainingError(
            f"{path}: {len(outcomes)} outcomes, {good} of them good enough; needed: {FEWEST}, and {FEWEST_OF_EACH} of each kind"
        )
    return outcomes


def read_rows(prompts: Sequence[str], arrays: Mapping[str, Any], encoder: StaticEncoder, context: Context) -> Values:
    """All features of prompts as the head lays them out, [n, f]."""
    words = WordClasses.from_arrays(arrays)
    features = RoutingFeatures(words, arrays["ceiling"], arrays["mean"], arrays["scale"])
    vectors, countable = read_countable(list(prompts), encoder, words, context)
    return features.row(vectors, countable).astype(float)


def shipped_log_odds(rows: Values, arrays: Mapping[str, Any]) -> Values:
    """The log-odds that economy is not good enough, by the linear reading of an artefact."""
    demand = rows @ arrays["weights"][:, 0].astype(float) + float(arrays["bias"][0])
    return np.asarray(demand * float(arrays["tier_slope"][0]) - float(arrays["tier_offset"][0]))


def fit_outcomes(rows: Values, before: Values, not_enough: Values, *, meaning: int, seed: int) -> Fitted:
    """The best of several penalties, by log loss on outcomes held out.

    Args:
        rows: features, [n, f].
        before: log-odds by the shipped score, [n].
        not_enough: 1 where the cheap model was not good enough, else 0, [n].
        meaning: how many of the features are the vector.
        seed: of the folds.
    """
    units = _units(rows.shape[1], meaning)
    scaled = rows * units
    fold = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    best: Fitted | None = None
    for penalty in PENALTIES:
        ridges = [Ridge(alpha=penalty).fit(scaled[fold != k], not_enough[fold != k]) for k in range(_FOLDS)]
        ridge = np.zeros(len(rows))
        for k, fitted in enumerate(ridges):
            ridge[fold == k] = fitted.predict(scaled[fold == k])
        held_out = np.zeros(len(rows))
        for k in range(_FOLDS):
            seen, unseen = fold != k, fold == k
            share, keep, offset = _stack(ridge[seen], before[seen], not_enough[seen])
            held_out[unseen] = share * ridge[unseen] + keep * before[unseen] + offset
        if best is None or log_loss(held_out, not_enough) < log_loss(best.held_out, not_enough):
            share, keep, offset = _stack(ridge, before, not_enough)
            whole = Ridge(alpha=penalty).fit(scaled, not_enough)
            best = Fitted(
                np.concatenate((whole.coef_ * units * share, [keep])),
                float(whole.intercept_ * share + offset),
                penalty,
                held_out,
            )
    assert best is not None  # noqa: S101 - there are penalties
    return best


def refitted_arrays(arrays: Mapping[str, Any], fitted: Fitted) -> dict[str, Any]:
    """The arrays of an artefact with the refit in them: its log-odds become the demand, in the demand's units.

    The same outcomes tell what documents and short questions of experts need, so these are not read apart any more; doubts
    and the words of experts stay as they are.
    """
    slope, offset = float(arrays["tier_slope"][0]), float(arrays["tier_offset"][0])
    weights, bias = arrays["weights"].astype(float), arrays["bias"].astype(float)
    keep = fitted.weights[-1]
    log_odds = fitted.weights[:-1] + keep * slope * weights[:, 0]
    constant = fitted.offset + keep * (slope * bias[0] - offset)
    for column in (0, 1):
        weights[:, column], bias[column] = log_odds / slope, (constant + offset) / slope
    changed = {"weights": weights.astype(np.float32), "bias": bias.astype(np.float32), "document_discount": np.float32(0)}
    RoutingHead(merged := {**arrays, **changed})  # fails here, if at all
    return merged


def log_loss(log_odds: Values, labels: Values) -> float:
    """The mean negative log likelihood, in nats."""
    return float((np.logaddexp(0, log_odds) - labels * log_odds).mean())


def _units(width: int, meaning: int) -> Values:
    """What each column counts: the vector comes first, then what is counted with its products, then squares."""
    counted = (width - meaning - len(PRODUCTS)) // 2
    parts = ((_VECTOR_UNITS, meaning), (_COUNTABLE_UNITS, counted + len(PRODUCTS)), (_SQUARE_UNITS, counted))
    return np.concatenate([np.full(columns, units) for units, columns in parts])


def _stack(ridge: Values, before: Values, labels: Values) -> tuple[float, float, float]:
    """How much the ridge and the shipped score count, neither below zero, and an offset."""

    def loss(numbers: Values) -> tuple[float, Values]:
        log_odds = numbers[0] * ridge + numbers[1] * before + numbers[2]
        error = expit(log_odds) - labels
        pull = numbers - np.array([0.0, 1.0, 0.0])
        value = (np.logaddexp(0, log_odds) - labels * log_odds).sum() + 0.5 * _STIFFNESS * float(pull[1:] @ pull[1:])
        slope = np.array([error @ ridge, error @ before, error.sum()])
        slope[1:] += _STIFFNESS * pull[1:]
        return float(value), slope

    found = minimize(loss, np.array([0.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, 50), (0, 5), (-20, 20)]).x
    return float(found[0]), float(found[1]), float(found[2])
