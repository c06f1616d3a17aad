"""A million tenants: what the stores keep for them, and whether a request waits longer because they are there.

``python -m tests.bench.tenants`` (part of ``make soak``). Both stores are filled through their own interface; latency is
measured with few tenants and with all, on the same store in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import CounterStore, Hold, Query, Release, StoreUnavailableError, Total
from router_extproc.store.open import open_counters
from tests.redis_servers import single_redis

_BATCH = 1_000
_FEW = 1_000
_MEASURED = 2_000
_HOUR = 3_600


def _counter(tenant: int) -> str:
    return f"budget monthly|tenant=tenant-{tenant:07d}"


def _hold(tenant: int, now: float) -> Hold:
    bucket = int(now) // _HOUR * _HOUR
    return Hold(_counter(tenant), bucket, bucket, 1_000, 10**12, "enforce", bucket + _HOUR)


async def fill(store: CounterStore, first: int, last: int, now: float) -> float:
    """Settles something for each tenant; returns tenants a second."""
    started = time.perf_counter()
    for start in range(first, last, _BATCH):
        holds = [_hold(tenant, now) for tenant in range(start, min(start + _BATCH, last))]
        await store.settle([Total(hold.counter, hold.bucket, 5, hold.expires_at) for hold in holds], [], now)
    return (last - first) / (time.perf_counter() - started)


async def latency(store: CounterStore, tenants: int, now: float) -> tuple[float, float]:
    """p50 and p99 in milliseconds of setting aside for a tenant drawn at random, and of nothing else."""
    draw = random.Random(7)  # noqa: S311 - draws tenants
    taken = []
    for number in range(_MEASURED):
        hold = _hold(draw.randrange(tenants), now)
        started = time.perf_counter()
        verdict = await store.reserve(f"measured-{tenants}-{number}", [hold], now + _HOUR, now)
        taken.append((time.perf_counter() - started) * 1_000)
        if verdict.refused:
            raise RuntimeError("refused below the cap")
        await store.release([Release(f"measured-{tenants}-{number}", (hold.counter,))], now)
    ordered = sorted(taken)
    return statistics.median(ordered), ordered[len(ordered) * 99 // 100]


async def ready(store: CounterStore) -> None:
    """A new Redis waits for a moment whether anybody has totals to tell."""
    while True:
        try:
            await store.read([Query(_counter(0), 0)], time.time())
        except StoreUnavailableError:
            await asyncio.sleep(0.1)
        else:
            return


async def show(name: str, store: CounterStore, tenants: int, bytes_kept: Callable[[], int]) -> None:
    """Prints a line for a few tenants and one for all."""
    now = time.time()
    before, rate = 0, 0.0
    try:
        await ready(store)
        for count in (_FEW, tenants):
            rate = await fill(store, before, count, now)
            p50, p99 = await latency(store, count, now)
            kept = bytes_kept()
            print(
                f"{name:8}{count:>10} tenants  {kept / 2**20:8.1f} MiB ({kept / count:6.0f} B each)"
                f"  p50 {p50:6.3f} ms  p99 {p99:6.3f} ms  filled at {rate:8.0f}/s",
                flush=True,
            )
            before = count
    finally:
        await store.aclose()


async def _main(tenants: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = folder / "ledger.sqlite"

        def file_bytes() -> int:
            return sum(path.stat().st_size for path in folder.glob("ledger.sqlite*"))

        await show("sqlite", open_counters(StoreSettings(deadline_ms=60_000), file, {}), tenants, file_bytes)
        with single_redis(folder / "redis") as server:

            def redis_bytes() -> int:
                with server.client() as client:
                    return int(client.info("memory")["used_memory"])

            settings = StoreSettings(kind="redis", urls=(server.url,), deadline_ms=60_000)
            await show("redis", open_counters(settings, folder / "other.sqlite", {}, instance="bench"), tenants, redis_bytes)


def main() -> None:
    """Fills and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1_000_000)
    asyncio.run(_main(parser.parse_args().tenants))


if __name__ == "__main__":
    main()
