"""Estimates are held against what came, and the figures say by how much they are off."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from router_extproc.observer.estimate_metrics import COST, OUTPUT_TOKENS, EstimateMetrics
from router_extproc.observer.records import DecisionRecord, SignalRecord, Usage
from tests.observer.test_join import START

ANSWERED = DecisionRecord(
    id="d",
    started_at=START,
    attempt_count=1,
    deployment="openai/gpt-4o",
    estimated_cost_usd=0.002,
    final_cost_usd=0.001,
    usage=Usage(100, 80),
    signals={"answer_tokens": SignalRecord(100, 0.1)},
)


class Figures:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = EstimateMetrics(self.registry)

    def take(self, *records: DecisionRecord) -> Figures:
        for record in records:
            self.metrics.decision(record, "gpt-4o")
        return self

    def figure(self, name: str, of: str, **more: str) -> float | None:
        return self.registry.get_sample_value(f"router_estimate_{name}", {"model": "gpt-4o", "of": of, **more})

    def count(self, of: str) -> float:
        return self.figure("ratio_count", of) or 0

    def percentage_error(self, of: str) -> float:
        total, count = self.figure("error_ratio_sum", of), self.figure("error_ratio_count", of)
        assert total is not None
        assert count is not None
        return total / count


@pytest.fixture
def figures() -> Figures:
    return Figures()


def test_both_figures_of_a_request_are_compared(figures: Figures) -> None:
    """Half the cost and four fifths of the tokens that were expected: each in its bucket."""
    figures.take(ANSWERED)
    assert figures.figure("ratio_sum", COST) == pytest.approx(0.5)
    assert figures.figure("ratio_sum", OUTPUT_TOKENS) == pytest.approx(0.8)
    buckets = {le: figures.figure("ratio_bucket", OUTPUT_TOKENS, le=le) for le in ("0.75", "0.9", "+Inf")}
    assert buckets == {"0.75": 0, "0.9": 1, "+Inf": 1}


def test_the_mean_error_can_be_read(figures: Figures) -> None:
    """Sum over count is the mean of what each was off, whichever way: once 100 %, once 20 %, once nothing."""
    figures.take(ANSWERED, replace(ANSWERED, final_cost_usd=0.0025), replace(ANSWERED, final_cost_usd=0.002))
    assert figures.percentage_error(COST) == pytest.approx((1.0 + 0.2 + 0.0) / 3)
    assert figures.percentage_error(OUTPUT_TOKENS) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "record",
    [
        replace(ANSWERED, cause="incomplete_stream"),
        replace(ANSWERED, attempt_count=2),
        replace(ANSWERED, attempt_count=0),
        replace(ANSWERED, final_cost_usd=None, usage=None),
        replace(ANSWERED, final_cost_usd=0.0, usage=Usage(100, 0)),
        replace(ANSWERED, estimated_cost_usd=None, signals={}),
        replace(ANSWERED, estimated_cost_usd=0.0, signals={"answer_tokens": SignalRecord("failed: ValueError", 0.1)}),
        replace(ANSWERED, estimated_cost_usd=None, signals={"answer_tokens": SignalRecord(value=True, ms=0.1)}),
        replace(ANSWERED, estimated_cost_usd=None, signals={"answer_tokens": SignalRecord(None, 0.1)}),
    ],
    ids=["broken", "fallback", "nobody called", "no usage", "nothing came", "no estimate", "failed", "no number", "unknown"],
)
def test_what_says_nothing_about_the_estimate_is_left_out(figures: Figures, record: DecisionRecord) -> None:
    """Parts of answers, other attempts than the estimated, and figures that are not there."""
    figures.take(record)
    assert (figures.count(COST), figures.count(OUTPUT_TOKENS)) == (0, 0)
