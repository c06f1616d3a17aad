"""The real process: entries go in over gRPC, and files, SQLite, health and metrics come out."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from router_extproc.observer.options import Cooling, ObserverOptions, encode_options
from router_extproc.registry.health import read_health
from router_extproc.registry.snapshot import Registry, encode_registry
from tests.observer.entries import attempt_entry, request_entry
from tests.observer.process import ObserverProcess, eventually

Observers = Callable[..., ObserverProcess]


def replace(path: Path, content: bytes) -> None:
    """Puts a file in place as the processes do: as a whole."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)


async def send_fallback(send: Any, decision: str) -> None:
    """A request whose first attempt was rate limited and whose second was answered."""
    now = time.time()
    await send(
        "attempts",
        attempt_entry(decision, "openai/gpt-4o", status=429, started_at=now, headers={"retry-after": "30"}),
        attempt_entry(decision, "azure/gpt-4o", number=2, started_at=now),
    )
    await send("requests", request_entry(decision, "azure/gpt-4o", attempts=2, started_at=now))


async def test_a_request_becomes_a_line_a_row_health_and_metrics(observers: Observers) -> None:
    """One request with a fallback shows up, joined, everywhere it is promised to."""
    observer = observers()
    observer.start()
    async with observer.logs() as send:
        await send_fallback(send, "d-1")
        [record] = await eventually(observer.records)
    assert record["id"] == "d-1"
    assert [(attempt["deployment"], attempt["status"], attempt["cause"]) for attempt in record["attempts"]] == [
        ("openai/gpt-4o", 429, "rate_limited"),
        ("azure/gpt-4o", 200, "none"),
    ]
    assert record["final_cost_usd"] == pytest.approx((600 * 2.5 + 400 * 1.25 + 200 * 10) / 1e6)
    health = await eventually(lambda: observer.health() if len(observer.health()) == 2 else None)
    assert health["openai/gpt-4o"]["state"] == "open"
    assert health["openai/gpt-4o"]["open_until"] == pytest.approx(time.time() + 30, abs=5)
    assert health["azure/gpt-4o"]["state"] == "closed"
    # The file has it a moment before the database.
    deadline = time.monotonic() + 20
    while (await observer.get("/decisions/d-1")).status_code != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (await observer.get("/decisions/d-1")).json() == record
    assert (await observer.get("/decisions?limit=5")).json() == {"decisions": [record]}
    metrics = (await observer.get("/metrics")).text
    assert 'router_requests_total{degraded="",model="gpt-4o",route="auto",status="200",tier="premium"} 1.0' in metrics
    assert 'router_fallbacks_total{cause="rate_limited",from="openai/gpt-4o",to="azure/gpt-4o"} 1.0' in metrics
    assert 'router_deployment_state{deployment="openai/gpt-4o"} 2.0' in metrics


async def test_sigterm_writes_what_is_known_and_ends_with_zero(observers: Observers) -> None:
    """A request that still waits for an attempt is written when the process is told to stop."""
    observer = observers()
    process = observer.start()
    async with observer.logs() as send:
        await send("requests", request_entry("d-2", attempts=2))
        # Whoever has taken this one has taken the one before it; between two logs there is no order.
        await send("requests", request_entry("d-1", attempts=0))
        await send("attempts", attempt_entry("d-3", "azure/gpt-4o", status=503))
        await eventually(lambda: "azure/gpt-4o" in observer.health() and [record["id"] for record in observer.records()])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert [record["id"] for record in observer.records()] == ["d-1", "d-2"]
    with sqlite3.connect(observer.state / "decisions.sqlite") as connection:
        assert connection.execute("select id, status from decisions").fetchall() == [("d-1", 200), ("d-2", 200)]
    connection.close()


async def test_what_was_learned_of_a_model_survives_a_kill(observers: Observers) -> None:
    """A token ratio is told to deciders and Prometheus, and again by the process that takes over."""
    observer = observers()
    observer.start()
    metadata = {"router.request": {"text_tokens": "1000"}, "router.usage": {"prompt_tokens": 1250}}

    async def ratios() -> Any:
        return (await observer.get("/health/deployments")).json()["token_ratios"]

    async with observer.logs() as send:
        for number in range(20):
            await send("attempts", attempt_entry(f"d-{number}", "openai/gpt-4o"))
            await send("requests", request_entry(f"d-{number}", metadata=metadata))
        await eventually(lambda: read_health(observer.state / "health.json").token_ratios)
    assert await ratios() == read_health(observer.state / "health.json").token_ratios == {"gpt-4o": 1.25}
    observer.kill()
    observer.start()
    assert await ratios() == {"gpt-4o": 1.25}
    assert 'router_token_ratio{model="gpt-4o"} 1.25' in (await observer.get("/metrics")).text


async def test_health_survives_a_kill(observers: Observers) -> None:
    """An observer that takes over after ``kill -9`` keeps what cooled down cooling, at the same path."""
    observer = observers()
    observer.start()
    async with observer.logs() as send:
        await send_fallback(send, "d-4")
        before = await eventually(lambda: observer.health().get("openai/gpt-4o"))
        await eventually(observer.records)
    observer.kill()
    observer.start()
    after = (await observer.get("/health/deployments")).json()["deployments"]["openai/gpt-4o"]
    assert (after["state"], after["open_until"]) == ("open", before["open_until"])
    async with observer.logs() as send:
        await send_fallback(send, "d-5")
        await eventually(lambda: [record["id"] for record in observer.records()] == ["d-4", "d-5"])
    sockets = {path.name for path in (observer.state / "sockets").iterdir()}
    assert observer.process is not None
    assert sockets == {"observer.sock", f"observer.{observer.process.pid}.sock"}


async def test_a_cooled_deployment_gets_one_probe_and_closes_after_it(observers: Observers) -> None:
    """Open, half open with a probe's name, closed again: all within the file that deciders read."""
    observer = observers(cooling=Cooling(failures=2, time_ms=300))
    observer.start()
    async with observer.logs() as send:
        for number in range(2):
            await send("attempts", attempt_entry(f"f-{number}", "openai/gpt-4o", status=503, started_at=time.time()))
        half_open = await eventually(lambda: (found := observer.health().get("openai/gpt-4o", {})).get("probe") and found)
        assert half_open["state"] == "half_open"
        await send("attempts", attempt_entry("p-1", "openai/gpt-4o", started_at=time.time()))
        await send("requests", request_entry("p-1"))
        await eventually(lambda: observer.health()["openai/gpt-4o"]["state"] == "closed")
    assert observer.health()["openai/gpt-4o"]["probe"] is None


async def test_what_other_processes_write_is_shown(observers: Observers) -> None:
    """Workers' figures, a refused reload, other limits and another configuration: taken over while it runs."""
    observer = observers()
    observer.start()
    (observer.state / "counters").mkdir()
    replace(observer.state / "counters" / "worker-0.json", b'{"pid": 5, "decided": 41}')
    replace(
        observer.state / "reload.json", b'{"ok": false, "accepted": 1, "refused": 1, "problems": ["router.yaml:1:1: error"]}'
    )
    replace(
        observer.state / "observer.json", encode_options(ObserverOptions(admin_port=observer.port, cooling=Cooling(failures=1)))
    )

    async def metrics(line: str) -> bool:
        return line in (await observer.get("/metrics")).text.splitlines()

    deadline = time.monotonic() + 20
    while not await metrics('router_worker_decisions_total{worker="0"} 41.0'):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    while not await metrics('router_config_reloads_total{result="refused"} 1.0'):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await metrics("router_config_last_reload_success 0.0")
    assert (await observer.get("/readyz")).json()["configuration"]["problems"] == ["router.yaml:1:1: error"]
    async with observer.logs() as send:
        await send("attempts", attempt_entry("d", "azure/gpt-4o", status=500, started_at=time.time()))
        await eventually(lambda: observer.health().get("azure/gpt-4o", {}).get("state") == "open")
    replace(observer.state / "snapshot.json", encode_registry(Registry()))
    await eventually(lambda: observer.health() == {})


async def test_messages_that_are_garbage_change_nothing(observers: Observers) -> None:
    """Empty entries, unknown logs, and entries in the wrong log: the observer goes on."""
    observer = observers()
    observer.start()
    async with observer.logs() as send:
        await send("tcp", request_entry("t"))
        await send("attempts", HTTPAccessLogEntry(), request_entry("r"))
        await send("requests", HTTPAccessLogEntry())
        await send("requests", request_entry("d", attempts=0))
        await eventually(lambda: [record["id"] for record in observer.records()] == ["", "d"])


def test_the_process_shows_its_role(observers: Observers) -> None:
    """The first word of the command line is the process's role."""
    process = observers().start()
    assert Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"router-extproc-observer")


def test_a_taken_admin_port_is_a_clear_error(observers: Observers) -> None:
    """The message names the key of router.yaml; nothing else is printed."""
    first = observers()
    first.start()
    second = subprocess.run(
        [sys.executable, "-m", "router_extproc.observer", "--state", str(first.state)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.startswith(f"router-extproc-observer: admin.port: 127.0.0.1:{first.port} cannot be had")
    assert "Traceback" not in second.stderr
