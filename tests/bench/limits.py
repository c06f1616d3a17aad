"""What keys, budgets and limits cost: the same service without any, on its SQLite file, and on Redis, in turns in one run.

Every request shows a key and takes from two counters, money by tenant and requests by key; no cap is ever reached.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypedDict

from tests.bench import wrk
from tests.end_to_end.running import Instance, Simulators, until
from tests.end_to_end.spending import World, command
from tests.redis_servers import RedisServer, single_redis

CONCURRENCIES = (1, 16, 64)
BODY = {"model": "small", "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 50}
_PROVIDER = """
workers: {count: 2}
providers:
  simulated: {base_url: "%s/v1"}
models:
  small: {tier: economy, capabilities: [], prices: {input: 1, output: 2}, deployments: [{provider: simulated}]}
"""
_LIMITED = """
auth: {mode: keys}
budgets:
  money: {usd: 1000000, window: day, per: tenant, on_store_failure: %s}
  calls: {requests: 900000000, window: {rolling: 1h}, per: key, on_store_failure: %s}
"""
Figures = dict[str, dict[str, dict[str, float]]]


class Found(TypedDict):
    """By kind and concurrency, and in units of the kind without limits."""

    limits: Figures
    limits_ratios: dict[str, float]


@contextmanager
def kinds(folder: Path) -> Iterator[tuple[dict[str, tuple[Instance, str | None]], RedisServer]]:
    """The three, running, each with the key to show; and the Redis server of the third."""
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        simulators = Simulators(folder, {"simulated": {"models": ["small"]}}, record=False)
        stack.callback(simulators.stop)
        provider = _PROVIDER % simulators.url("simulated")
        limited = _LIMITED % ("fail_open", "fail_open")
        server = stack.enter_context(single_redis(folder / "redis"))
        texts = {
            "off": provider,
            "sqlite": provider + limited,
            "redis": f"{provider}{limited}store: {{redis: {{url: {server.url}}}}}\n",
        }
        found: dict[str, tuple[Instance, str | None]] = {}
        for name, text in texts.items():
            instance = Instance(folder / name, text).start()
            stack.callback(instance.stop)
            found[name] = (instance, None if name == "off" else _key(instance))
        yield found, server


def _key(instance: Instance) -> str:
    key: str = command(instance, "keys", "create", "--tenant", "bench")["key"]
    until(partial(World.is_known, instance, key))
    return key


def measure(folder: Path, rounds: int, seconds: int) -> Found:
    """Medians by kind and concurrency, their ratios to none, and what Redis costs while it does not answer."""
    with kinds(folder) as (found, server):
        body = json.dumps(BODY).encode()
        scripts = {name: wrk.write_script(folder / f"{name}.lua", body, key=key) for name, (_, key) in found.items()}
        figures: Figures = {name: {} for name in found}
        for concurrency in CONCURRENCIES:
            seen: dict[str, list[wrk.Measured]] = {name: [] for name in found}
            for _ in range(rounds):
                for name, (instance, _) in found.items():
                    seen[name].append(wrk.run(instance.url, scripts[name], concurrency, seconds))
            for name, rows in seen.items():
                figures[name][f"c{concurrency}"] = _median(rows)
        server.pause()
        try:
            instance = found["redis"][0]
            silent = _median([wrk.run(instance.url, scripts["redis"], 16, seconds) for _ in range(rounds)])
        finally:
            server.go_on()
        figures["redis silent"] = {"c16": silent}
    return {"limits": figures, "limits_ratios": ratios(figures)}


def _median(rows: list[wrk.Measured]) -> dict[str, float]:
    columns = {key: [asdict(row)[key] for row in rows] for key in asdict(rows[0])}
    return {key: statistics.median(values) for key, values in columns.items()} | {"failed": sum(columns["failed"])}


def ratios(figures: Figures) -> dict[str, float]:
    """Latency and throughput in units of the service without limits."""
    found = {}
    for name, rows in figures.items():
        for concurrency, row in rows.items():
            if name != "off":
                for figure in ("p50_ms", "p99_ms", "throughput"):
                    found[f"{name}_{figure}_{concurrency}"] = row[figure] / figures["off"][concurrency][figure]
    return found
