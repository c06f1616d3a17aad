"""Prometheus metrics: counted from decision records, attempts, live health and what other processes write.

Rules of this file
- Every label value comes from the registry, from a list in this package or from the status codes of HTTP: nothing that a
  client can write becomes a label. Names that the registry does not have are ``other``.
- The names are published: a metric or label may be added, not renamed.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector

from router_extproc.observer import causes
from router_extproc.observer.analysis_metrics import AnalysisMetrics
from router_extproc.observer.compose import ROUTER_UNAVAILABLE
from router_extproc.observer.estimate_metrics import EstimateMetrics
from router_extproc.observer.known_names import OTHER, KnownNames
from router_extproc.observer.records import AttemptRecord, DecisionRecord
from router_extproc.observer.spending_metrics import SpendingMetrics

NO_VALUE = ""
_HIGHEST_STATUS = 599
_DEGRADED = frozenset({ROUTER_UNAVAILABLE, "all-cooling-down", "store-unavailable", "all-cooling-down,store-unavailable"})
# Seconds. LLM answers take from a tenth of a second (an embedding) to many minutes (a long stream).
_DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_FIRST_TOKENS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 50, 100)
_LAGS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All figures of one observer, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.spending = SpendingMetrics(registry)
        self._analysis, self._estimates = AnalysisMetrics(registry), EstimateMetrics(registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            "router_requests_total",
            "Requests by what was decided and how they ended.",
            ("route", "model", "tier", "status", "degraded"),
            registry=registry,
        )
        self._attempts = Counter(
            "router_attempts_total",
            "Attempts on deployments; status 0 is no answer.",
            ("deployment", "status", "cause"),
            registry=registry,
        )
        self._durations = Histogram(
            "router_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ("model",),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._first_tokens = Histogram(
            "router_time_to_first_token_seconds",
            "From the first byte of a request to the first of its answer.",
            ("model",),
            buckets=_FIRST_TOKENS,
            registry=registry,
        )
        self._fallbacks = Counter(
            "router_fallbacks_total", "Moves from a failed attempt to the next.", ("from", "to", "cause"), registry=registry
        )
        self._tokens = Counter(
            "router_tokens_total", "Tokens as providers counted them.", ("model", "direction"), registry=registry
        )
        self._cost = Counter("router_cost_usd_total", "Usage at the models' prices.", ("model",), registry=registry)
        self._degraded = Counter("router_degraded_total", "Answers that were less than what was promised.", registry=registry)
        self._unreadable = Counter(
            "router_observer_unreadable_entries_total", "Access log entries that could not be read.", registry=registry
        )
        self._lag = Histogram(
            "router_observer_lag_seconds", "From the end of a request to its record.", buckets=_LAGS, registry=registry
        )
        # What every request is counted in is looked up by its labels once: the library checks and locks each time.
        self._requests_by, self._attempts_by = cache(self._requests.labels), cache(self._attempts.labels)
        self._durations_by, self._first_tokens_by = cache(self._durations.labels), cache(self._first_tokens.labels)
        self._tokens_by, self._cost_by = cache(self._tokens.labels), cache(self._cost.labels)

    def attempt(self, attempt: AttemptRecord, names: KnownNames) -> None:
        """Counts one attempt, its cause known."""
        deployment, status = names.deployment_label(attempt.deployment), _status_label(attempt.status)
        self._attempts_by(deployment, status, _cause_label(attempt.cause)).inc()

    def decision(self, record: DecisionRecord, names: KnownNames, received_at: float) -> None:
        """Counts one request with all that is known about it; ``received_at`` is in epoch seconds."""
        served = names.served(record.deployment)
        # A request that called nobody has no model; one on a deployment that is gone has one we no longer know.
        model = served.model if served is not None else (NO_VALUE if record.deployment is None else OTHER)
        tier = served.tier if served is not None else NO_VALUE
        route = NO_VALUE if record.route is None else names.route_label(record.route)
        degraded = _degraded_label(record.degraded)
        self._requests_by(route, model, tier, _status_label(record.status), degraded).inc()
        if degraded:
            self._degraded.inc()
        self._analysis.decision(record, tier)
        if record.total_ms is not None:
            self._lag.observe(max(0.0, received_at - record.started_at.timestamp() - record.total_ms / 1_000))
        if record.deployment is None:
            return
        if record.total_ms is not None:
            self._durations_by(model).observe(record.total_ms / 1_000)
        if record.time_to_first_token_ms is not None:
            self._first_tokens_by(model).observe(record.time_to_first_token_ms / 1_000)
        self._count_usage(record, model)
        self._estimates.decision(record, model)
        self._count_fallbacks(record, names)

    def unreadable(self, count: int) -> None:
        """Counts entries that could not be read."""
        self._unreadable.inc(count)

    def _count_usage(self, record: DecisionRecord, model: str) -> None:
        if record.usage is not None:
            self._tokens_by(model, "input").inc(record.usage.prompt_tokens - record.usage.cached_tokens)
            self._tokens_by(model, "cached_input").inc(record.usage.cached_tokens)
            self._tokens_by(model, "output").inc(record.usage.completion_tokens)
        if record.final_cost_usd is not None:
            self._cost_by(model).inc(record.final_cost_usd)

    def _count_fallbacks(self, record: DecisionRecord, names: KnownNames) -> None:
        for failed, following in zip(record.attempts, record.attempts[1:], strict=False):
            if following.cause != causes.NOT_SENT:
                source, target = names.deployment_label(failed.deployment), names.deployment_label(following.deployment)
                self._fallbacks.labels(source, target, _cause_label(failed.cause)).inc()


def _status_label(status: int) -> str:
    return str(status) if 0 <= status <= _HIGHEST_STATUS else OTHER


def _cause_label(cause: str) -> str:
    return cause if cause in causes.CAUSES else OTHER


def _degraded_label(degraded: str | None) -> str:
    if degraded is None:
        return NO_VALUE
    return degraded if degraded in _DEGRADED else OTHER
