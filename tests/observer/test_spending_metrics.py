"""Figures about money: bounded labels, and sums that are those of the ledger."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from router_extproc.observer.money import show_usd
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.store.alerts import Alert
from router_extproc.store.ledger import LedgerRow


@pytest.mark.parametrize(
    ("budget", "label"), [("month", "month"), ("key:k1:day", "key"), ("gone", "other"), ('x"} 1', "other"), ("", "other")]
)
def test_only_budgets_of_the_file_are_labels(budget: str, label: str) -> None:
    """Budgets of keys are as many as there are keys, and what is not configured any more could be anything."""
    registry = CollectorRegistry()
    figures = SpendingMetrics(registry)
    figures.know(["month"])
    figures.alert(Alert(name="a", at=0, budget=budget, counter="c", unit="usd", threshold=0.8, settled=1, cap=1, expires_at=1))
    assert registry.get_sample_value("router_budget_alerts_total", {"budget": label, "threshold": "0.8"}) == 1
    assert figures.warned() == {label: 1}


def test_money_is_shown_in_dollars() -> None:
    """Each row once, by purpose and by who counted."""
    registry = CollectorRegistry()
    figures = SpendingMetrics(registry)
    figures.settled([LedgerRow(request="a", attempt=1, at=0, cost_micro_usd=1_500_000, usage_source="provider")] * 2)
    labels = {"purpose": "answer", "counted_by": "provider"}
    assert registry.get_sample_value("router_settled_usd_total", labels) == 3.0
    assert registry.get_sample_value("router_settled_calls_total", labels) == 2


def test_failures_are_there_before_the_first() -> None:
    """An alert on their growth works from the start."""
    registry = CollectorRegistry()
    figures = SpendingMetrics(registry)
    figures.failed("ledger", 0)
    for reason in ("unreadable_line", "unsettled_request", "ledger", "log"):
        assert registry.get_sample_value("router_settlement_failures_total", {"reason": reason}) == 0


@pytest.mark.parametrize(
    ("micro_usd", "text"),
    [(0, "0.000000"), (1, "0.000001"), (999_999, "0.999999"), (12_500_000, "12.500000"), (-1, "-0.000001")],
)  # fmt: skip
def test_dollars_as_text(micro_usd: int, text: str) -> None:
    """Exact, however large."""
    assert show_usd(micro_usd) == text
