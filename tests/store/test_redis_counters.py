"""Counters in Redis: exact while many ask, mended after losses, silent about what they do not know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Hold, Level, Query, Release, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters
from tests.redis_servers import RedisServer, single_redis

NOW = 1_000_000.0
UNTIL = NOW + 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest_asyncio.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisCounters]:
    with server.client() as client:
        for key in client.scan_iter("router:*"):
            if not key.endswith(":ready"):
                client.delete(key)
    opened = RedisCounters(settings(server), {}, "ledger-one")
    await ready(opened)
    yield opened
    await opened.aclose()


def settings(server: RedisServer, deadline_ms: int = 500) -> StoreSettings:
    """Patient where time is not what is tested: two cores run all of this."""
    return StoreSettings(kind="redis", urls=(server.url,), deadline_ms=deadline_ms)


async def ready(store: RedisCounters, seconds: float = 10.0) -> None:
    """Until the store knows that nobody has more to tell."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            await store.read([], NOW)
            await store.read([Query("nothing", 0)], NOW)
        except StoreUnavailableError:
            assert time.monotonic() < give_up
            await asyncio.sleep(0.02)
        else:
            return


def hold(counter: str, amount: int, limit: int, kind: str = "enforce", bucket: int = 0, since: int = 0) -> Hold:
    return Hold(counter, bucket, since, amount, limit, kind, int(NOW) + 3_600)  # type: ignore[arg-type]


async def test_amounts_are_set_aside_and_given_back(store: RedisCounters) -> None:
    """What is set aside counts until it is given back."""
    verdict = await store.reserve("a", [hold("c", 7, 10)], UNTIL, NOW)
    assert verdict.levels == (Level(0, 0),)
    assert not verdict.refused
    assert (await store.reserve("b", [hold("c", 4, 10)], UNTIL, NOW)).refused == (0,)
    assert await store.read([Query("c", 0), Query("unknown", 0)], NOW) == (Level(0, 7), Level())
    await store.release([Release("a", ("c", "elsewhere"))], NOW)
    assert not (await store.reserve("b", [hold("c", 10, 10)], UNTIL, NOW)).refused


async def test_totals_are_taken_over_together_with_what_was_set_aside(store: RedisCounters) -> None:
    """Settling turns what was set aside into what is settled; telling it again, or late, changes nothing."""
    await store.reserve("a", [hold("c", 7, 10)], UNTIL, NOW)
    newer = Total("c", 0, 9, int(NOW) + 3_600)
    await store.settle([Total("c", 0, 5, int(NOW) + 3_600)], [Release("a", ("c",))], NOW)
    assert await store.read([Query("c", 0)], NOW) == (Level(5, 0),)
    for total in (newer, newer, Total("c", 0, 5, int(NOW) + 3_600)):
        await store.settle([total], [], NOW)
    assert await store.read([Query("c", 0)], NOW) == (Level(9, 0),)


async def test_five_hundred_at_once_never_exceed_a_limit(store: RedisCounters) -> None:
    """Of five hundred that ask at the same time exactly as many fit as the limit has room for."""
    verdicts = await asyncio.gather(*(store.reserve(f"r{n}", [hold("c", 1, 123)], UNTIL, NOW) for n in range(500)))
    assert sum(not verdict.refused for verdict in verdicts) == 123
    assert await store.read([Query("c", 0)], NOW) == (Level(0, 123),)
