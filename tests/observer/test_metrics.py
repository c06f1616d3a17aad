"""Figures are what Prometheus can parse, are counted from records, and have labels of bounded number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from router_extproc.observer.known_names import KnownNames
from router_extproc.observer.live_figures import Live, LiveFigures
from router_extproc.observer.metrics import Metrics
from router_extproc.observer.records import AttemptRecord, DecisionRecord, SignalRecord
from router_extproc.observer.reload_report import ReloadReport
from router_extproc.observer.worker_counters import WorkerCounters
from router_extproc.registry.health import DeploymentHealth
from router_extproc.telemetry.worker_figures import Admissions, WorkerFigures
from tests.observer.entries import REGISTRY
from tests.observer.test_compose import fallback, refusal, undecided, unparsed
from tests.observer.test_join import START

NAMES = KnownNames(REGISTRY)
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figures(metrics: Metrics) -> Figures:
    """Every sample as Prometheus would read it."""
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples
    }


def figure(metrics: Metrics, name: str, **labels: str) -> float:
    return figures(metrics)[name, tuple(sorted(labels.items()))]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def take(metrics: Metrics, record: DecisionRecord) -> None:
    for attempt in record.attempts:
        metrics.attempt(attempt, NAMES)
    metrics.decision(record, NAMES, START.timestamp())


def test_a_fallback_is_counted_everywhere(metrics: Metrics) -> None:
    """Requests, attempts, the move, tokens, cost and times."""
    take(metrics, fallback())
    model = {"model": "gpt-4o"}
    route = {"route": "auto", "tier": "premium", "status": "200", "degraded": ""}
    move = {"from": "openai/gpt-4o", "to": "azure/gpt-4o", "cause": "server_error"}
    assert figure(metrics, "router_requests_total", **model, **route) == 1
    assert figure(metrics, "router_attempts_total", deployment="openai/gpt-4o", status="503", cause="server_error") == 1
    assert figure(metrics, "router_attempts_total", deployment="azure/gpt-4o", status="200", cause="none") == 1
    assert figure(metrics, "router_fallbacks_total", **move) == 1
    assert figure(metrics, "router_tokens_total", **model, direction="input") == 600
    assert figure(metrics, "router_tokens_total", **model, direction="cached_input") == 400
    assert figure(metrics, "router_tokens_total", **model, direction="output") == 200
    assert figure(metrics, "router_cost_usd_total", **model) == pytest.approx(0.004)
    assert figure(metrics, "router_request_duration_seconds_sum", **model) == pytest.approx(0.81)
    assert figure(metrics, "router_time_to_first_token_seconds_sum", **model) == pytest.approx(0.13)


def test_requests_without_an_answer_are_counted_too(metrics: Metrics) -> None:
    """A refusal and a broken request have no model; what no worker decided is degraded."""
    for record in (refusal(), unparsed(), undecided()):
        take(metrics, record)
    nobody = {"model": "", "tier": "", "route": ""}
    assert figure(metrics, "router_requests_total", **nobody, status="404", degraded="") == 1
    assert figure(metrics, "router_requests_total", **nobody, status="400", degraded="") == 1
    assert figure(metrics, "router_degraded_total") == 1


@pytest.mark.parametrize("word", ["store-unavailable", "all-cooling-down,store-unavailable"])
def test_a_request_without_the_store_is_a_degraded_one(metrics: Metrics, word: str) -> None:
    """An alert on degraded answers sees those that were admitted while the store was away."""
    take(metrics, replace(undecided(), degraded=word))
    assert figure(metrics, "router_degraded_total") == 1
    assert [dict(labels)["degraded"] for name, labels in figures(metrics) if name == "router_requests_total"] == [word]


def test_what_auto_chose_is_counted_with_what_decided_it(metrics: Metrics) -> None:
    """Tier and first cause of a choice, and why the classifier was not sure; words of a configuration do not become labels."""
    unsure = {"routing": SignalRecord({"needs_strong": 0.9, "unsure": ["foreign", "not-a-word-of-ours"]}, 0.4)}
    reasons = [
        "auto:economy",
        "auto:premium:risk=medical:task=qa",
        "auto:premium:of-my-own=1",
        "auto:premium:analysis-deadline",
    ]
    for reason in [*reasons, "named", "auto:no-tier", "rule:auto:economy"]:
        take(metrics, replace(fallback(), reason=reason, signals=unsure if reason == "auto:economy" else {}))
    counted = {
        (dict(labels)["tier"], dict(labels)["because"]): value
        for (name, labels), value in figures(metrics).items()
        if name == "router_analysis_choices_total"
    }
    assert counted == {
        ("economy", "difficulty"): 1,
        ("premium", "risk"): 1,
        ("premium", "other"): 1,
        ("premium", "analysis-deadline"): 1,
    }
    assert figure(metrics, "router_analysis_abstentions_total", why="foreign") == 1
    assert figure(metrics, "router_analysis_abstentions_total", why="other") == 1


def test_labels_do_not_explode(metrics: Metrics) -> None:
    """Ten thousand names that the registry does not have make one label each."""
    record = fallback()
    before = None
    for number in range(10_000):
        odd = AttemptRecord(deployment=f"d-{number}", cause=f"c-{number}", status=number, started_at=START)
        take(
            metrics,
            msgspec.structs.replace(
                record,
                route=f"r-{number}",
                degraded=f"g-{number}",
                deployment=f"d-{number}",
                model=f"m-{number}",
                attempts=(odd, odd),
            ),
        )
        if number == 600:
            before = len(figures(metrics))
    assert before is not None
    # One for each status code up to 599, then nothing new.
    assert len(figures(metrics)) == before < 3_000


def test_live_figures_are_those_of_now(metrics: Metrics) -> None:
    """Health, workers and reloads are read when they are asked for."""
    live = Live(
        WorkerCounters(Path("unused")), observer_totals=lambda: {"record_dropped": 3}, warned=lambda: {"day": 1, "key": 4}
    )
    metrics.registry.register(LiveFigures(live))
    assert figure(metrics, "router_config_last_reload_success") == 1
    live.health = {
        "a": DeploymentHealth(state="open"),
        "b": DeploymentHealth(time_to_first_byte_ms=250.0, quota_until=1.0),
    }
    live.token_ratios = {"gpt-4o": 1.25}
    live.reload = ReloadReport(ok=False, accepted=4, refused=2)
    worker = WorkerFigures(pid=1, decided=9, refused={"model_not_found": 2}, analysis_failures={"deadline": 3})
    for seconds in (0.0001, 0.003, 7.0):
        worker.analysis.add(seconds)
    worker.admissions = Admissions(admitted=7, downgraded=2, seconds=0.5, by_budget={"day": {"refused": 3, "observed": 1}})
    live.workers.take(1, worker, 0.0)
    live.workers.take(2, WorkerFigures(pid=2, admissions=Admissions(by_budget={"day": {"refused": 4}})), 0.0)
    assert figure(metrics, "router_deployment_state", deployment="a") == 2
    assert figure(metrics, "router_deployment_state", deployment="b") == 0
    assert figure(metrics, "router_deployment_quota_used_up", deployment="a") == 0
    assert figure(metrics, "router_deployment_quota_used_up", deployment="b") == 1
    assert figure(metrics, "router_deployment_time_to_first_byte_seconds", deployment="b") == 0.25
    assert figure(metrics, "router_token_ratio", model="gpt-4o") == 1.25
    assert figure(metrics, "router_config_reloads_total", result="accepted") == 4
    assert figure(metrics, "router_config_reloads_total", result="refused") == 2
    assert figure(metrics, "router_config_last_reload_success") == 0
    assert figure(metrics, "router_worker_decisions_total", worker="1") == 9
    assert figure(metrics, "router_worker_refusals_total", worker="1", code="model_not_found") == 2
    assert figure(metrics, "router_analysis_failures_total", worker="1", reason="deadline") == 3
    assert figure(metrics, "router_admissions_total", worker="1") == 7
    assert figure(metrics, "router_admission_measures_total", worker="1", measure="downgraded") == 2
    assert figure(metrics, "router_admission_measures_total", worker="1", measure="waited") == 0
    assert figure(metrics, "router_admission_seconds_total", worker="1") == 0.5
    assert figure(metrics, "router_budget_outcomes_total", budget="day", outcome="refused") == 7
    assert figure(metrics, "router_budget_outcomes_total", budget="day", outcome="observed") == 1
    assert figure(metrics, "router_budget_outcomes_total", budget="day", outcome="warned") == 1
    assert figure(metrics, "router_budget_outcomes_total", budget="key", outcome="warned") == 4
    below = [
        figure(metrics, "router_analysis_seconds_bucket", worker="1", le=le) for le in ("0.0002", "0.002", "0.005", "+Inf")
    ]
    assert below == [1, 1, 2, 3]
    assert figure(metrics, "router_analysis_seconds_sum", worker="1") == pytest.approx(7.0031)
    assert figure(metrics, "router_observer_events_total", event="record_dropped") == 3
    assert figure(metrics, "process_resident_memory_bytes") > 0
