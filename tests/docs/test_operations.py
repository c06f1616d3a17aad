"""docs/operations.md has every metric, endpoint, file and field that an operator may meet."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.render import SCRIPTS
from router_extproc.observer import causes
from router_extproc.observer.admin import admin_app
from router_extproc.observer.live_figures import Live, LiveFigures
from router_extproc.observer.metrics import Metrics
from router_extproc.observer.records import AttemptRecord, DecisionRecord, Usage
from router_extproc.observer.worker_counters import WorkerCounters
from router_extproc.registry.health import DeploymentHealth
from router_extproc.telemetry.worker_figures import WorkerFigures
from tests.docs.documents import names, prose, sections

DOCUMENT = "docs/operations.md"


def families(tmp_path: Path) -> dict[str, Metric]:
    """Every metric of ours, by the name under which Prometheus knows it."""
    workers = WorkerCounters(tmp_path)
    workers.take(0, WorkerFigures(pid=1, refused={"model_not_found": 1}), written_at=0.0)
    live = Live(
        workers,
        health={"d": DeploymentHealth(time_to_first_byte_ms=1.0)},
        token_ratios={"m": 1.2},
        observer_totals=lambda: {"record_dropped": 1},
    )
    registry: CollectorRegistry = Metrics().registry
    registry.register(LiveFigures(live))
    found = {f"{family.name}_total" if family.type == "counter" else family.name: family for family in registry.collect()}
    return {name: family for name, family in found.items() if name.startswith("router_")}


def rows(title: str) -> dict[str, tuple[str, ...]]:
    """The rows of a section's tables by each name in the first cell."""
    return {name: row for row in sections(DOCUMENT)[title].rows for name in names(row[0])}


def test_every_metric_is_told(tmp_path: Path) -> None:
    """A metric cannot appear or vanish without the table of metrics."""
    assert set(rows("Metrics")) == set(families(tmp_path))


def test_every_label_is_told(tmp_path: Path) -> None:
    """The labels with which a query can be written stand beside their metric."""
    for name, family in families(tmp_path).items():
        told = set(names(rows("Metrics")[name][1]))
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= told, name
    for name in ("requests", "attempts", "fallbacks", "tokens", "cost"):
        labels = getattr(Metrics(), f"_{name}")._labelnames
        key = next(metric for metric in families(tmp_path) if metric.startswith(f"router_{name}_"))
        assert set(labels) <= set(names(rows("Metrics")[key][1])), key


def test_every_endpoint_of_the_admin_api_is_told() -> None:
    """Whoever reads the document knows every address that answers."""
    routes = admin_app(Mock()).routes
    served = {f"{'POST' if 'POST' in route.methods else 'GET'} {route.path}" for route in routes}  # type: ignore[attr-defined]
    assert set(rows("Health and admin API")) == served


@pytest.mark.parametrize("record", [DecisionRecord, AttemptRecord, Usage])
def test_every_field_of_a_decision_is_told(record: type[msgspec.Struct]) -> None:
    """A line of the decision log has no key that the document does not explain."""
    text = prose(DOCUMENT).partition("## Decision log")[2].partition("## Health and admin API")[0]
    assert {field.encode_name for field in msgspec.structs.fields(record)} <= set(names(text))


def test_every_cause_of_failure_is_told_with_its_effect_on_health() -> None:
    """The words of `cause` are explained, and whether they count against a deployment is what health does."""
    told = rows("Decision log")
    assert set(told) >= causes.CAUSES
    for cause in causes.CAUSES:
        assert told[cause][2].startswith("yes") == (cause in causes.PROVIDER_FAULTS), cause


def test_every_file_of_the_state_directory_is_told() -> None:
    """Nothing lies in the state directory that the document does not name."""
    state = StateDirectory(Path("/state"))
    properties = [name for name, value in vars(StateDirectory).items() if isinstance(value, property)]
    paths = {getattr(state, name).relative_to(state.root) for name in properties}
    text = prose(DOCUMENT)
    for path in paths - {path for path in paths if path.parts[0] == "sockets"}:
        assert f"`{path}" in text or f"`{path.name}" in text, path
    for script in SCRIPTS:
        assert f"`{script}`" in text, script
