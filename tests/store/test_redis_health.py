"""Words about deployments in Redis: heard by all that live, sent when they are new, forgotten with whoever said them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.redis_health import STALE_SECONDS, RedisHealth
from tests.redis_servers import RedisServer, encrypted_redis, redis_cluster, single_redis
from tests.store.redis_counting import encrypted

Make = Callable[[str], RedisHealth]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest_asyncio.fixture
async def make(server: RedisServer) -> AsyncIterator[Make]:
    opened: list[RedisHealth] = []

    def one(name: str) -> RedisHealth:
        opened.append(RedisHealth(StoreSettings(kind="redis", urls=(server.url,), deadline_ms=5_000), {}, name))
        return opened[-1]

    yield one
    for each in opened:
        await each.aclose()


async def heard(health: RedisHealth, word: str) -> dict[str, str]:
    return {name: said.word.decode() for name, said in (await health.exchange(word)).items()}


async def test_each_hears_what_the_others_said_last(make: Make) -> None:
    """Nobody hears itself; what did not change is still known, what changed is heard with the next exchange."""
    one, two, three = make("one"), make("two"), make("three")
    assert await heard(one, "a b") == {}
    assert await heard(two, "b") == {"one": "a b"}
    assert await heard(three, "c") == {"one": "a b", "two": "b"}
    assert await heard(one, "a b") == {"two": "b", "three": "c"}
    assert await heard(two, "B") == {"one": "a b", "three": "c"}
    assert await heard(one, "a b") == {"two": "B", "three": "c"}


async def test_what_did_not_change_is_not_sent(server: RedisServer, make: Make) -> None:
    """Neither to Redis nor back: an exchange without news is some hundred bytes."""
    one, two = make("one"), make("two")
    long = "x" * 100_000
    for health in (one, two, one):
        await health.exchange(long)

    def moved() -> int:
        with server.client() as client:
            figures = client.info("stats")
        return int(figures["total_net_input_bytes"] + figures["total_net_output_bytes"])

    before = moved()
    for _ in range(10):
        assert (await heard(one, long))["two"] == (await heard(two, long))["one"] == long
    # Looking costs some kilobytes itself.
    assert moved() - before < 50_000


async def test_who_gives_no_sign_is_forgotten(server: RedisServer, make: Make) -> None:
    """After two seconds a dead instance says nothing any more, and nothing of it is left; nor is there of all, a minute on."""
    one, two = make("one"), make("two")
    await one.exchange("a")
    async with asyncio.timeout(10):
        while True:
            if not await heard(two, "b"):
                break
            await asyncio.sleep(STALE_SECONDS / 10)
    with server.client() as client:
        assert client.hkeys("router:{r0}:health:words") == client.hkeys("router:{r0}:health:seen") == ["two"]
        assert {key: 0 < client.pttl(key) <= 60_000 for key in client.keys("*")} == {
            "router:{r0}:health:words": True,
            "router:{r0}:health:seen": True,
        }
    assert await heard(one, "a") == {"two": "b"}
    assert await heard(two, "b") == {"one": "a"}


async def test_a_redis_that_forgot_is_told_again(server: RedisServer, make: Make) -> None:
    """At once, without waiting for news."""
    one, two = make("one"), make("two")
    await one.exchange("a")
    with server.client() as client:
        client.flushall()
    await one.exchange("a")
    assert await heard(two, "b") == {"one": "a"}


async def test_a_server_that_is_gone_is_said_to_be(server: RedisServer, make: Make) -> None:
    """And what was said meanwhile is told when it is back."""
    one, two = make("one"), make("two")
    await one.exchange("a")
    server.kill()
    with pytest.raises(StoreUnavailableError):
        await one.exchange("A")
    server.start()
    async with asyncio.timeout(10):
        while True:
            try:
                await one.exchange("A")
                break
            except StoreUnavailableError:
                await asyncio.sleep(0.02)
        while True:
            try:
                assert await heard(two, "b") == {"one": "A"}
                break
            except StoreUnavailableError:
                await asyncio.sleep(0.02)


async def both_hear(settings: StoreSettings) -> None:
    """Two instances hear each other."""
    one, two = (RedisHealth(settings, {"REDIS_PASSWORD": "horse"}, name) for name in ("one", "two"))
    try:
        await one.exchange("a")
        assert await heard(two, "b") == {"one": "a"}
        assert await heard(one, "a") == {"two": "b"}
    finally:
        await one.aclose()
        await two.aclose()


async def test_the_rights_that_are_told_are_enough(tmp_path: Path) -> None:
    """A user that may do no more than the documentation says, behind TLS."""
    with encrypted_redis(tmp_path, "router", "horse") as server:
        await both_hear(encrypted(server))


async def test_a_cluster_has_all_words_in_one_place(tmp_path: Path) -> None:
    """One script reads them, whichever master has the place."""
    with redis_cluster(tmp_path) as cluster:
        await both_hear(StoreSettings(kind="redis_cluster", urls=cluster.urls[:2], deadline_ms=5_000))
