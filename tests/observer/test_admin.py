"""The admin API over HTTP: what it shows, and what it answers to nonsense."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from prometheus_client import CollectorRegistry

from router_extproc.errors import StartError
from router_extproc.observer.admin import admin_app, bind
from router_extproc.observer.metrics import Metrics
from router_extproc.observer.reload_report import ReloadReport
from router_extproc.registry.health import DeploymentHealth
from router_extproc.router import Router
from router_extproc.store.decisions import DecisionRow, DecisionWriter
from tests.observer.entries import REGISTRY


class Instance:
    """What the API asks for, as values."""

    def __init__(self, decisions: Path) -> None:
        self.metrics: CollectorRegistry = Metrics().registry
        self.decisions = decisions
        self.reload = ReloadReport(revision="r1", ok=False, problems=("router.yaml:3:1: error: models: unknown",), refused=1)
        self.missing: list[str] = []
        self.cooling: dict[str, DeploymentHealth] = {"azure/gpt-4o": DeploymentHealth(state="open", open_until=9e9)}

        # What speaks of keys and budgets has tests of their own.
        self.desk: Any = Mock()

    def router(self) -> Router:
        return Router(REGISTRY)

    def health(self) -> Mapping[str, DeploymentHealth]:
        return self.cooling

    def token_ratios(self) -> Mapping[str, float]:
        return {"gpt-4o": 1.25}

    async def reasons_not_ready(self) -> list[str]:
        return self.missing


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path / "decisions.sqlite")


@pytest.fixture
def client(instance: Instance) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(admin_app(instance)), base_url="http://admin")


async def test_alive_and_metrics(client: httpx.AsyncClient) -> None:
    """Both answer as long as the process runs."""
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    metrics = await client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "router_degraded_total 0.0" in metrics.text


async def test_readiness_says_what_is_missing(client: httpx.AsyncClient, instance: Instance) -> None:
    """Reasons are for machines; a refused configuration is told and does not make the instance unready."""
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["configuration"]["problems"] == ["router.yaml:3:1: error: models: unknown"]
    instance.missing.append("no worker is serving (2 known)")
    unready = await client.get("/readyz")
    assert (unready.status_code, unready.json()["reasons"]) == (503, ["no worker is serving (2 known)"])


async def test_live_health(client: httpx.AsyncClient) -> None:
    """The same document that deciders read."""
    health = (await client.get("/health/deployments")).json()
    assert health["written_at"] > 0
    assert health["deployments"]["azure/gpt-4o"]["state"] == "open"
    assert health["token_ratios"] == {"gpt-4o": 1.25}


async def test_decisions(client: httpx.AsyncClient, instance: Instance) -> None:
    """The newest first, as many as asked for, and one by its id."""
    assert (await client.get("/decisions")).json() == {"decisions": []}
    with closing(DecisionWriter(instance.decisions)) as writer:
        writer.write([DecisionRow(f"d-{n}", n, None, None, None, 200, None, json.dumps({"id": f"d-{n}"})) for n in range(60)])
    assert len((await client.get("/decisions")).json()["decisions"]) == 50
    assert (await client.get("/decisions?limit=2")).json() == {"decisions": [{"id": "d-59"}, {"id": "d-58"}]}
    assert (await client.get("/decisions/d-7")).json() == {"id": "d-7"}
    assert (await client.get("/decisions/d-x")).status_code == 404


@pytest.mark.parametrize("limit", ["0", "1001", "99999999999", "-1", "x", ""])
async def test_a_limit_that_is_none(client: httpx.AsyncClient, limit: str) -> None:
    """A clear refusal, not a crash and not everything."""
    assert (await client.get(f"/decisions?limit={limit}")).status_code == 400


def test_a_taken_port_names_the_key() -> None:
    """Whoever reads the error knows what to change."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"^admin.port: 127.0.0.1:{port} cannot be had \(Address already in use\)"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("address", ["not-an-address", "203.0.113.7"])
def test_an_address_that_is_not_ours_names_the_key(address: str) -> None:
    """An unknown host and a foreign address are told the same way."""
    with pytest.raises(StartError, match=r"^admin.port: .* cannot be had"):
        bind(address, 0)
