"""Metrics that are read when they are asked for: health, workers, reloads, and what the observer itself holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router_extproc.observer.reload_report import ReloadReport
from router_extproc.observer.worker_counters import WorkerCounters, WorkerTotals
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth
from router_extproc.telemetry.worker_figures import MEASURES, Admissions

# What budgets do beside what workers count: the alerts.
WARNED = "warned"
# The value of router_deployment_state.
STATES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}


def _alone() -> int:
    return 1


@dataclass
class Live:
    """What is true now: the server keeps it up to date, a scrape reads it."""

    workers: WorkerCounters
    health: Mapping[str, DeploymentHealth] = field(default_factory=dict)
    token_ratios: Mapping[str, float] = field(default_factory=dict)
    reload: ReloadReport = field(default_factory=ReloadReport)
    observer_totals: Callable[[], Mapping[str, int]] = dict
    instances: Callable[[], int] = _alone
    warned: Callable[[], Mapping[str, int]] = dict


class LiveFigures(Collector):
    """Shows a ``Live`` to Prometheus."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """All families, in a fixed order."""
        yield from self._deployments()
        yield self._token_ratios()
        yield from self._reloads()
        totals = self._live.workers.totals(time.time())
        yield from self._workers(totals)
        yield from self._admissions(totals)
        yield self._budgets(totals)
        yield from self._analysis(totals)
        events = CounterMetricFamily(
            "router_observer_events_total",
            "What the observer dropped: records for want of room, attempts without their request, attempts that came late.",
            labels=("event",),
        )
        for name, count in self._live.observer_totals().items():
            events.add_metric((name,), count)
        yield events

    def _deployments(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "router_deployment_state", "0 closed, 1 half open, 2 open (cooling down).", labels=("deployment",)
        )
        latency = GaugeMetricFamily(
            "router_deployment_time_to_first_byte_seconds", "Recent median of successful attempts.", labels=("deployment",)
        )
        used_up = GaugeMetricFamily(
            "router_deployment_quota_used_up", "1 while the provider says that its quota is used up.", labels=("deployment",)
        )
        for name, health in sorted(self._live.health.items()):
            used_up.add_metric((name,), float(health.quota_until > 0))
            state.add_metric((name,), STATES[health.state])
            if health.time_to_first_byte_ms is not None:
                latency.add_metric((name,), health.time_to_first_byte_ms / 1_000)
        yield state
        yield latency
        yield used_up
        yield GaugeMetricFamily(
            "router_health_instances",
            "Instances whose findings about deployments count here, this one included.",
            value=self._live.instances(),
        )

    def _token_ratios(self) -> Metric:
        ratios = GaugeMetricFamily(
            "router_token_ratio", "Tokens of a prompt that a model reports for each one that was estimated.", labels=("model",)
        )
        for model, ratio in sorted(self._live.token_ratios.items()):
            ratios.add_metric((model,), ratio)
        return ratios

    def _reloads(self) -> Iterator[Metric]:
        report = self._live.reload
        reloads = CounterMetricFamily("router_config_reloads_total", "Changes of router.yaml.", labels=("result",))
        reloads.add_metric(("accepted",), report.accepted)
        reloads.add_metric(("refused",), report.refused)
        yield reloads
        yield GaugeMetricFamily(
            "router_config_last_reload_success", "1 when the newest router.yaml is in force.", value=float(report.ok)
        )

    def _workers(self, totals: Mapping[int, WorkerTotals]) -> Iterator[Metric]:
        labels = ("worker",)
        decided = CounterMetricFamily("router_worker_decisions_total", "Requests that a worker decided.", labels=labels)
        refused = CounterMetricFamily(
            "router_worker_refusals_total", "Requests answered with an error.", labels=("worker", "code")
        )
        failed = CounterMetricFamily("router_worker_failures_total", "Conversations that broke off.", labels=labels)
        attempts = CounterMetricFamily(
            "router_worker_attempt_legs_total", "Attempts that a worker took part in.", labels=labels
        )
        seconds = CounterMetricFamily("router_worker_decision_seconds_total", "Time spent deciding.", labels=labels)
        streams = GaugeMetricFamily("router_worker_streams", "Conversations open now.", labels=labels)
        in_flight = GaugeMetricFamily("router_worker_in_flight_bytes", "Request bodies held now.", labels=labels)
        resident = GaugeMetricFamily("router_worker_resident_bytes", "Memory of the worker.", labels=labels)
        for index, total in totals.items():
            label = (str(index),)
            decided.add_metric(label, total.decided)
            failed.add_metric(label, total.failed)
            attempts.add_metric(label, total.attempt_leg)
            seconds.add_metric(label, total.decision_seconds_sum)
            streams.add_metric(label, total.streams)
            in_flight.add_metric(label, total.in_flight_bytes)
            resident.add_metric(label, total.rss_bytes)
            for code, count in sorted(total.refused.items()):
                refused.add_metric((str(index), code), count)
        yield from (decided, refused, failed, attempts, seconds, streams, in_flight, resident)

    def _admissions(self, totals: Mapping[int, WorkerTotals]) -> Iterator[Metric]:
        labels = ("worker",)
        admitted = CounterMetricFamily("router_admissions_total", "Requests for which something could be spent.", labels=labels)
        measures = CounterMetricFamily(
            "router_admission_measures_total", "What limits made of requests that they let pass.", labels=("worker", "measure")
        )
        seconds = CounterMetricFamily(
            "router_admission_seconds_total", "Time spent admitting, waiting included.", labels=labels
        )
        for index, total in totals.items():
            admissions = total.admissions
            admitted.add_metric((str(index),), admissions.admitted)
            seconds.add_metric((str(index),), admissions.seconds)
            for measure in MEASURES:
                measures.add_metric((str(index), measure), getattr(admissions, measure))
        yield from (admitted, measures, seconds)

    def _budgets(self, totals: Mapping[int, WorkerTotals]) -> Metric:
        """Labels are the names that the workers' configuration has: see ``Admissions.count``."""
        outcomes = CounterMetricFamily(
            "router_budget_outcomes_total",
            "What each budget made of requests, and how often it warned.",
            labels=("budget", "outcome"),
        )
        together = Admissions()
        for total in totals.values():
            together.add_all(total.admissions)
        for budget, count in self._live.warned().items():
            together.count(budget, WARNED, count)
        for budget, counts in sorted(together.by_budget.items()):
            for outcome, count in sorted(counts.items()):
                outcomes.add_metric((budget, outcome), count)
        return outcomes

    def _analysis(self, totals: Mapping[int, WorkerTotals]) -> Iterator[Metric]:
        times = HistogramMetricFamily("router_analysis_seconds", "Time spent on what a request is.", labels=("worker",))
        failures = CounterMetricFamily(
            "router_analysis_failures_total",
            "Requests that went to a strong model because analysis gave no answer.",
            labels=("worker", "reason"),
        )
        for index, total in totals.items():
            times.add_metric((str(index),), buckets=total.analysis.cumulative(), sum_value=total.analysis.sum)
            for reason, count in sorted(total.analysis_failures.items()):
                failures.add_metric((str(index), reason), count)
        yield from (times, failures)
