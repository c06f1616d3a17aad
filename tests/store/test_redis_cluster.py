"""Counters in a Redis Cluster: one script a place, exact over places, and alive when a master is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import msgspec
import pytest

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, Release, StoreUnavailableError, Total
from router_extproc.store.lives import counter_of
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_start import check_redis
from tests.redis_servers import RedisCluster, redis_cluster, until
from tests.store.redis_counting import NOW, UNTIL, hold, opened, ready, undone, until_refused

LATER = int(NOW) + 3_600
NAMES = [f"budget per tenant|tenant={number}" for number in range(40)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def written(cluster: RedisCluster, request: pytest.FixtureRequest) -> StoreSettings:
    """A prefix for each test: nothing is left of others."""
    prefix = "".join(letter for letter in request.node.name if letter.isalnum())
    return StoreSettings(kind="redis_cluster", urls=cluster.urls[:2], deadline_ms=5_000, prefix=prefix)


async def test_counters_are_spread_and_work_together(cluster: RedisCluster, written: StoreSettings) -> None:
    """One reservation over counters of all masters is all or nothing; totals, releases and claims find their places."""
    await check_redis(written, {})
    async with opened(written) as store:
        await store.reserve("a", [hold(name, 6, 10) for name in NAMES], UNTIL, NOW)
        for master in cluster.masters():
            with master.client() as client:
                assert any(client.scan_iter(f"{written.prefix}:*:held:*")), "a master has nothing to do"
        await store.settle([Total(name, 0, 6, LATER) for name in NAMES], [Release("a", tuple(NAMES))], NOW)
        await store.settle([Total(NAMES[7], 0, 8, LATER)], [], NOW)
        verdict = await store.reserve("b", [hold(name, 3, 10) for name in NAMES], UNTIL, NOW)
        assert verdict.refused == (7,)
        await undone(store)
        assert (await store.read([Query(name, 0) for name in NAMES], NOW)).count(Level(6, 0)) == len(NAMES) - 1
        assert [await store.claim("x", UNTIL, NOW) for _ in range(2)] == [True, False]


async def test_a_request_is_one_script_a_place(cluster: RedisCluster, written: StoreSettings) -> None:
    """Two budgets whose counters lie in two places are two scripts, and two in the same place one."""
    async with opened(written) as store:
        groups = store._groups([f"counter {number}" for number in range(200)])
        (_, first), (_, second), *_ = groups
        apart, together = (first[0], second[0]), (first[0], first[1])
        for places, scripts in ((apart, 20), (together, 10)):
            wanted = [hold(f"counter {place}", 1, 1_000) for place in places]
            before = _scripts(cluster)
            for number in range(10):
                await store.reserve(f"{places} {number}", wanted, UNTIL, NOW)
            assert _scripts(cluster) - before == scripts


async def test_a_life_of_envoy_takes_no_script_of_its_own(cluster: RedisCluster, written: StoreSettings) -> None:
    """Its counter lies beside the one that it is counted for; wherever that is, what is under way in the life is found."""
    async with opened(written) as store:
        before = _scripts(cluster)
        for name in NAMES:
            await store.reserve(f"of {name}", [hold(name, 1, 10), hold(counter_of("mark", name), 1, 0, "count")], UNTIL, NOW)
        assert _scripts(cluster) - before == len(NAMES)
        await store.reserve(
            "of another", [hold(NAMES[0], 1, 10), hold(counter_of("other", NAMES[0]), 1, 0, "count")], UNTIL, NOW
        )
        found = {release.reservation: set(release.counters) for release in await store.under_way("mark")}
        assert found == {f"of {name}": {name, counter_of("mark", name)} for name in NAMES}
        await store.settle([], [Release(reservation, tuple(counters)) for reservation, counters in found.items()], NOW)
        assert await store.under_way("mark") == []
        assert len(await store.under_way("other")) == 1


def _scripts(cluster: RedisCluster) -> int:
    """How many scripts the masters have run."""
    called = 0
    for master in cluster.masters():
        with master.client() as client:
            called += client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    return called


async def test_who_knows_no_counters_gives_all_back(written: StoreSettings) -> None:
    """Every place is asked; what another reservation has stays."""
    async with opened(written) as store:
        for reservation in ("gone", "stays"):
            await store.reserve(reservation, [hold(name, 3, 10) for name in NAMES], UNTIL, NOW)
        await store.release([Release("gone", ()), Release("unknown", ())], NOW)
        assert await store.read([Query(name, 0) for name in NAMES], NOW) == (Level(0, 3),) * len(NAMES)


async def test_at_once_over_several_places(written: StoreSettings) -> None:
    """Of two hundred requests that touch three masters each, never more are admitted than any limit has room for."""
    async with opened(written) as store, opened(written, "ledger-two") as other:
        wanted = [hold(name, 1, 37) for name in NAMES[:6]]
        asked = [who.reserve(f"r{number}", wanted, UNTIL, NOW) for number in range(100) for who in (store, other)]
        # Both stores ask for the same reservations: the second time they are there, or refused again.
        await asyncio.gather(*asked)
        await undone(store)
        await undone(other)
        levels = await store.read([Query(name, 0) for name in NAMES[:6]], NOW)
        assert max(level.held for level in levels) <= 37


async def test_every_master_is_looked_at_by_the_start(
    cluster: RedisCluster, written: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Rights are each server's own: that scripts are blocked on one of three is said, whichever node is written down."""
    for master in cluster.masters():
        with master.client() as client:
            client.execute_command("ACL", "SETUSER", "default", "-eval")
            try:
                with pytest.raises(StartError, match="eval"):
                    await until_refused(written, {})
            finally:
                client.execute_command("ACL", "SETUSER", "default", "+eval")
    await check_redis(msgspec.structs.replace(written, urls=("redis://127.0.0.1:1", *written.urls)), {})
    assert not caplog.records
    await check_redis(msgspec.structs.replace(written, urls=("redis://127.0.0.1:1",)), {})
    assert "store cannot be reached at the start" in caplog.text


async def test_a_server_that_is_no_master_leads_to_the_others(cluster: RedisCluster, written: StoreSettings) -> None:
    """Any node may be written down, a replica and one that is gone too."""
    masters = cluster.masters()
    replica = next(server for server in cluster.servers if server not in masters)
    urls = ("redis://127.0.0.1:1", replica.url)
    async with opened(StoreSettings(kind="redis_cluster", urls=urls, deadline_ms=5_000, prefix=written.prefix)) as store:
        assert not (await store.reserve("a", [hold(name, 1, 10) for name in NAMES], UNTIL, NOW)).refused


async def test_a_place_that_moved_is_found(cluster: RedisCluster, written: StoreSettings) -> None:
    """When a replica takes over in good order, calls follow; only where something was not told again they wait."""
    async with opened(written) as store:
        await store.settle([Total(name, 0, 6, LATER) for name in NAMES], [], NOW)
        masters = cluster.masters()
        replica = next(server for server in cluster.servers if server not in masters)
        with replica.client() as client:
            client.execute_command("CLUSTER", "FAILOVER")
            until(lambda: client.info("replication")["role"] == "master", "the replica to take over")
        await ready(store)
        assert set(await store.read([Query(name, 0) for name in NAMES], NOW)) == {Level(6, 0)}


async def test_a_lost_master_is_replaced(cluster: RedisCluster, written: StoreSettings) -> None:
    """Counters of other masters go on at once; those of the lost one are unavailable, never wrong, until its replica has
    been told what it may have missed; then everything is there.
    """
    async with opened(msgspec.structs.replace(written, deadline_ms=500)) as store:
        memory = await store.memory()
        totals = [Total(name, 0, 9, LATER) for name in NAMES]
        await store.settle(totals, [], NOW)
        lost = cluster.masters()[0]
        lost.kill()
        served, unavailable, retold = 0, 0, False
        began = time.monotonic()
        while time.monotonic() - began < 30:
            outcomes = await asyncio.gather(
                *(store.reserve(f"r{name}", [hold(name, 2, 10)], UNTIL, NOW) for name in NAMES), return_exceptions=True
            )
            verdicts = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
            assert all(verdict.refused == (0,) for verdict in verdicts), "admitted against totals that were lost"
            assert all(isinstance(outcome, StoreUnavailableError) for outcome in outcomes if outcome not in verdicts)
            served += len(verdicts)
            unavailable += len(outcomes) - len(verdicts)
            if not retold:
                retold = await _memory(store) not in (None, memory)
                if retold:
                    await store.settle(totals, [], NOW)
            elif len(verdicts) == len(NAMES):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the lost master is not replaced")
        assert served > len(NAMES)
        assert unavailable
        assert set(await store.read([Query(name, 0) for name in NAMES], NOW)) == {Level(9, 0)}
        lost.start()


async def _memory(store: RedisCounters) -> str | None:
    try:
        return await store.memory()
    except StoreUnavailableError:
        return None
