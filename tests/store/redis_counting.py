"""What the tests of counters in Redis share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Hold, HoldKind, Query, StoreUnavailableError
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_start import check_redis
from tests.redis_servers import RedisServer

NOW = 1_000_000.0
UNTIL = NOW + 60


def single(server: RedisServer, deadline_ms: int = 5_000, prefix: str = "router") -> StoreSettings:
    """One server, and patience where time is not what is tested: a machine may stand still for seconds."""
    return StoreSettings(kind="redis", urls=(server.url,), deadline_ms=deadline_ms, prefix=prefix)


def encrypted(server: RedisServer, deadline_ms: int = 5_000) -> StoreSettings:
    """One server behind TLS, for the user that routers are given; the password stands in ``REDIS_PASSWORD``."""
    return replace(
        single(server, deadline_ms),
        username="router",
        password_env="REDIS_PASSWORD",  # noqa: S106 - a variable's name
        certificate_authority=str(server.folder / "authority.pem"),
    )


@asynccontextmanager
async def opened(settings: StoreSettings, instance: str = "ledger-one") -> AsyncIterator[RedisCounters]:
    """A store that knows all totals."""
    store = RedisCounters(settings, {}, instance)
    try:
        await ready(store)
        yield store
    finally:
        await store.aclose()


async def shown_in_vain(settings: StoreSettings, environ: Mapping[str, str]) -> tuple[str, str]:
    """What a store that cannot be reached tells: its error, and what it holds."""
    store = RedisCounters(settings, environ)
    try:
        with pytest.raises(StoreUnavailableError) as failed:
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
    finally:
        await store.aclose()
    return str(failed.value), repr(store.__dict__)


async def until_refused(settings: StoreSettings, environ: Mapping[str, str], seconds: float = 20.0) -> None:
    """Asks as the start does until that refuses: a server that answers late, on a busy machine, is only away to it.

    Raises:
        StartError: what the start says.
    """
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        await check_redis(settings, environ)


async def ready(store: RedisCounters, seconds: float = 20.0) -> None:
    """Until every counter can be asked for."""
    await eventually(lambda: store.read([Query(f"nothing {number}", 0) for number in range(500)], NOW), seconds)


async def eventually(ask: Callable[[], object], seconds: float = 20.0) -> object:
    """The answer, once the store is available."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return await ask()  # type: ignore[misc]
        except StoreUnavailableError:
            assert time.monotonic() < give_up, "the store stays unavailable"
            await asyncio.sleep(0.02)


async def undone(store: RedisCounters) -> None:
    """Until what was to be given back in the background is."""
    task = store._undoing._task
    if task is not None:
        await task


def hold(counter: str, amount: int, limit: int, kind: HoldKind = "enforce") -> Hold:
    return Hold(counter, bucket=0, since=0, amount=amount, limit=limit, kind=kind, expires_at=int(NOW) + 3_600)
