"""Figures about money and limits: what was settled, how far settling lags, whether the store hears, which alerts were raised.

Rules of this file
- As in ``metrics``: no label value that a client can write. A budget that the configuration does not name is ``key`` or
  ``other``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge

from router_extproc.observer.known_names import OTHER
from router_extproc.store.alerts import Alert
from router_extproc.store.ledger import LedgerRow

KEY = "key"
UNREADABLE_LINE, UNSETTLED_REQUEST, LEDGER, LOG = "unreadable_line", "unsettled_request", "ledger", "log"
DELIVERED, FAILED, GIVEN_UP = "delivered", "failed", "given_up"

_MICRO = 1_000_000


class SpendingMetrics:
    """The figures, in the observer's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._budgets: frozenset[str] = frozenset()
        self._warned: dict[str, int] = {}
        labels = ("purpose", "counted_by")
        self._settled = Counter("router_settled_usd_total", "What was settled.", labels, registry=registry)
        self._calls = Counter("router_settled_calls_total", "Attempts in the ledger.", labels, registry=registry)
        self._failures = Counter(
            "router_settlement_failures_total", "What could not be settled, or not yet.", ("reason",), registry=registry
        )
        for reason in (UNREADABLE_LINE, UNSETTLED_REQUEST, LEDGER, LOG):
            self._failures.labels(reason)
        self._behind = Gauge(
            "router_settlement_behind_bytes", "How much of the access log is not settled yet.", registry=registry
        )
        self._up = Gauge("router_store_up", "1 when the store of counters took over what was settled last.", registry=registry)
        self._untold = Gauge(
            "router_store_behind_seconds", "Since when the store has not heard everything that was settled.", registry=registry
        )
        self._alerts = Counter(
            "router_budget_alerts_total", "Thresholds that budgets have reached.", ("budget", "threshold"), registry=registry
        )
        self._deliveries = Counter("router_alert_deliveries_total", "Calls of the webhook.", ("result",), registry=registry)
        for result in (DELIVERED, FAILED, GIVEN_UP):
            self._deliveries.labels(result)
        # Looked up by its labels once: the library checks and locks each time.
        self._settled_by, self._calls_by = cache(self._settled.labels), cache(self._calls.labels)

    def know(self, budgets: Iterable[str]) -> None:
        """The names that budgets have in the configuration."""
        self._budgets = frozenset(budgets)

    def settled(self, rows: Iterable[LedgerRow]) -> None:
        """Counts rows that are new in the ledger."""
        for row in rows:
            self._calls_by(row.purpose, row.usage_source).inc()
            self._settled_by(row.purpose, row.usage_source).inc(row.cost_micro_usd / _MICRO)

    def failed(self, reason: str, count: int = 1) -> None:
        """Counts what could not be settled."""
        if count:
            self._failures.labels(reason).inc(count)

    def behind(self, log_bytes: Callable[[], int]) -> None:
        """Says how far settling lags, whenever somebody asks."""
        self._behind.set_function(log_bytes)

    def store(self, *, is_up: bool, behind_seconds: float) -> None:
        """Whether the store hears."""
        self._up.set(float(is_up))
        self._untold.set(behind_seconds)

    def alert(self, alert: Alert) -> None:
        """Counts an alert."""
        label = self._budget_label(alert.budget)
        self._alerts.labels(label, f"{alert.threshold:g}").inc()
        self._warned[label] = self._warned.get(label, 0) + 1

    def warned(self) -> Mapping[str, int]:
        """How many alerts there were, by the label of the budget."""
        return self._warned

    def delivery(self, result: str) -> None:
        """Counts a call of the webhook."""
        self._deliveries.labels(result).inc()

    def _budget_label(self, budget: str) -> str:
        if budget in self._budgets:
            return budget
        return KEY if budget.startswith("key:") else OTHER
