"""How good estimates are: what a request was expected to cost, and its answer to have in tokens, held against what came.

Rules of this file
- Only whom the first attempt answered in full is compared: the estimate is about that attempt, and a part of an answer says
  nothing about it.
- Where the caller sets a limit the cost's estimate is an upper bound, as ``policy.cost`` says, and the ratio mostly below 1.
"""

from __future__ import annotations

import math
from functools import cache

from prometheus_client import CollectorRegistry, Histogram, Summary

from router_extproc.observer import causes
from router_extproc.observer.records import DecisionRecord

COST, OUTPUT_TOKENS = "cost", "output_tokens"
# What analysis calls the length that it expects of an answer.
_SIGNAL = "answer_tokens"
_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10)


class EstimateMetrics:
    """The figures, in the observer's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("model", "of")
        self._ratios = Histogram(
            "router_estimate_ratio",
            "What came for each that was estimated: dollars, or tokens of the answer.",
            labels,
            buckets=_RATIOS,
            registry=registry,
        )
        # Its sum over its count is the mean absolute percentage error (MAPE), as a share.
        self._errors = Summary(
            "router_estimate_error_ratio",
            "By how much the estimate was off, in either direction, as a share of what came.",
            labels,
            registry=registry,
        )
        # Looked up by its labels once: the library checks and locks each time.
        self._ratios_by, self._errors_by = cache(self._ratios.labels), cache(self._errors.labels)

    def decision(self, record: DecisionRecord, model: str) -> None:
        """Compares one request; ``model`` is its label."""
        if record.cause != causes.NONE or record.attempt_count != 1:
            return
        self._compare(model, COST, record.estimated_cost_usd, record.final_cost_usd)
        signal = record.signals.get(_SIGNAL)
        if signal is not None and record.usage is not None:
            self._compare(model, OUTPUT_TOKENS, _number(signal.value), record.usage.completion_tokens)

    def _compare(self, model: str, what: str, estimated: float | None, came: float | None) -> None:
        # What is free or empty has no share by which an estimate could be off.
        if not estimated or not came:
            return
        ratio = came / estimated
        if math.isfinite(ratio) and ratio > 0:
            self._ratios_by(model, what).observe(ratio)
            self._errors_by(model, what).observe(abs(estimated - came) / came)


def _number(value: object) -> float | None:
    """A signal's value, which may be a word where it could not be worked out."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
