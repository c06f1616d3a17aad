"""Counters behind sentinels: when the master is lost its replica is used, once it has been told what it may have missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_start import check_redis
from tests.redis_servers import WatchedRedis, watched_redis
from tests.store.redis_counting import NOW, UNTIL, hold, opened

TOTAL = Total("c", 0, 9, int(NOW) + 3_600)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRedis]:
    with watched_redis(tmp_path_factory.mktemp("sentinel")) as started:
        yield started


@pytest.fixture
def written(watched: WatchedRedis) -> StoreSettings:
    # One that is gone is among those written down.
    urls = ("redis://127.0.0.1:1", *watched.urls)
    return StoreSettings(kind="redis_sentinel", urls=urls, sentinel_service=watched.service, deadline_ms=500)


async def test_a_lost_master_is_replaced(watched: WatchedRedis, written: StoreSettings) -> None:
    """Between the loss and the moment when the new master knows all totals every call fails, and fast; nothing is admitted
    against what was forgotten. Everybody finds the new master, and a claim that was given stays given.
    """
    await check_redis(written, {})
    async with opened(written) as store:
        memory = await store.memory()
        await store.settle([TOTAL], [], NOW)
        assert await store.claim("alert", UNTIL, NOW)
        lost = watched.master()
        lost.kill()
        unavailable, slowest, is_told_again = 0, 0.0, False
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            began = time.monotonic()
            try:
                verdict = await store.reserve("a", [hold("c", 2, 10)], UNTIL, NOW)
            except StoreUnavailableError:
                unavailable += 1
                slowest = max(slowest, time.monotonic() - began)
            else:
                assert verdict.refused == (0,), "admitted against totals that were lost"
                break
            if not is_told_again:
                is_told_again = await _tell_again(store, memory)
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the lost master is not replaced")
        assert unavailable
        assert slowest < 2.0
        assert is_told_again
        assert watched.master() is not lost
        assert await store.read([Query("c", 0)], NOW) == (Level(9, 0),)
        assert not await store.claim("alert", UNTIL, NOW)


async def _tell_again(store: RedisCounters, memory: str) -> bool:
    """What an observer does, several times a second."""
    try:
        if await store.memory() == memory:
            return False
        await store.settle([TOTAL], [], NOW)
    except StoreUnavailableError:
        return False
    return True
