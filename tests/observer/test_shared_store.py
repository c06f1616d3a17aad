"""Several observers on one Redis: sums over all of them, alerts once, keys everywhere, and a Redis that dies and forgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from router_extproc.config.state import StateDirectory
from router_extproc.limits.identity import digest_of, proves
from router_extproc.limits.without_store import LOCAL
from router_extproc.observer.bookkeeping import Bookkeeping
from router_extproc.observer.identities import Identities
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise, Spending, StoreSettings
from router_extproc.store.counters import Hold, Query, StoreUnavailableError
from router_extproc.store.identities import AuditEntry, StoredRaise
from tests.observer.lines import ACCOUNT, MONEY, request_line
from tests.redis_servers import RedisServer, single_redis

COST = 575
HELD = replace(MONEY, limit=3 * COST, warn_at=(0.5, 1.0), expires_at=int(time.time()) + 3_600)
PATIENCE_SECONDS = 20.0
SHOWN = "sk-router-k1.secret"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with single_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def settings(redis: RedisServer) -> StoreSettings:
    # The deadline is for a machine that does nothing else.
    return StoreSettings(kind="redis", urls=(redis.url,), deadline_ms=1_000)


class Replica:
    """One instance's books and identities."""

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        self.state, self.settings = StateDirectory(folder), settings
        folder.mkdir(parents=True)
        self.state.logs.mkdir()
        self.figures = CollectorRegistry()
        self.books = Bookkeeping(self.state, SpendingMetrics(self.figures), time.time, {})
        self.books.know(Registry(spending=Spending(budgets=(Budget("month", "usd", 3 * COST),), store=settings)))
        self.identities = Identities(self.state, {})
        self.written = 0

    def write(self, count: int = 1) -> None:
        """So many requests are over."""
        with self.state.access_log.open("ab") as log:
            for _ in range(count):
                self.written += 1
                reservation = f"{self.state.root.name}-{self.written}"
                log.write(request_line(reservation, replace(ACCOUNT, reservation=reservation, held=(HELD,))) + b"\n")

    async def step(self) -> None:
        await self.books.settle()
        await self.books.tell()
        await self.identities.follow(self.settings)

    async def level(self) -> tuple[int, int]:
        """Settled and held as the store has them; -1 while it does not answer."""
        store = self.books.store
        assert store is not None
        try:
            [level] = await store.read([Query(HELD.counter, HELD.since)], time.time())
        except StoreUnavailableError:
            return -1, -1
        return level.settled, level.held

    def figure(self, name: str, **labels: str) -> float:
        return self.figures.get_sample_value(name, labels) or 0.0

    async def close(self) -> None:
        await self.books.aclose()
        await self.identities.aclose()


@pytest.fixture
async def replicas(tmp_path: Path, settings: StoreSettings) -> AsyncIterator[list[Replica]]:
    made = [Replica(tmp_path / name, settings) for name in "abc"]
    yield made
    for each in made:
        await each.close()


async def stepped(replicas: list[Replica], is_true: Callable[[], bool]) -> None:
    """Every replica goes on until something is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "did not come true"
        await asyncio.gather(*(each.step() for each in replicas))
        await asyncio.sleep(0.05)


async def settled(replicas: list[Replica], amount: int) -> None:
    """All go on until every one of them reads this level, with nothing set aside."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (levels := [await each.level() for each in replicas if each.books.store is not None]) != [(amount, 0)] * len(
        replicas
    ):
        assert time.monotonic() < deadline, levels
        await asyncio.gather(*(each.step() for each in replicas))
        await asyncio.sleep(0.05)


async def test_the_sum_is_that_of_all(replicas: list[Replica]) -> None:
    """What one instance settles counts for the others, and what it had set aside is given back."""
    await asyncio.gather(*(each.step() for each in replicas))
    store = replicas[0].books.store
    assert store is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    hold = Hold(HELD.counter, HELD.bucket, HELD.since, 100, 10**9, "enforce", HELD.expires_at)
    while True:
        try:
            await store.reserve("b-1", [hold], time.time() + 600, time.time())
            break
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.gather(*(each.step() for each in replicas))
    for count, each in enumerate(replicas, 1):
        each.write(count)
    await settled(replicas, 6 * COST)


async def test_each_threshold_alerts_once_over_all(replicas: list[Replica]) -> None:
    """Whoever settles what reaches it."""
    for _ in range(4):
        for each in replicas:
            each.write()
        await asyncio.gather(*(each.step() for each in replicas))
    await settled(replicas, 12 * COST)

    def alerts(threshold: str) -> float:
        return sum(each.figure("router_budget_alerts_total", budget="month", threshold=threshold) for each in replicas)

    await stepped(replicas, lambda: alerts("0.5") >= 1 <= alerts("1"))
    await asyncio.gather(*(each.step() for each in replicas))
    assert (alerts("0.5"), alerts("1")) == (1, 1)


async def test_a_store_that_is_away_and_forgets(replicas: list[Replica], redis: RedisServer) -> None:
    """Settling goes on without it, loudly; when it is back, empty, it is told everything."""
    for each in replicas:
        each.write(2)
    await settled(replicas, 6 * COST)
    await stepped(replicas, lambda: all(each.figure("router_store_up") == 1 for each in replicas))
    redis.kill()
    replicas[0].write(3)
    await stepped(replicas, lambda: all(each.figure("router_store_up") == 0 for each in replicas))
    await stepped(replicas, lambda: replicas[0].figure("router_store_behind_seconds") > 0)
    assert replicas[0].figure("router_settled_calls_total", purpose="answer", counted_by="provider") == 5
    redis.start()
    await settled(replicas, 9 * COST)
    await stepped(replicas, lambda: all(each.figure("router_store_up") == 1 for each in replicas))


async def test_an_instance_that_starts_again_tells_its_totals_again(
    replicas: list[Replica], settings: StoreSettings, tmp_path: Path
) -> None:
    """A total is told as a total: the same instance's replaces its own, and adds to nobody's."""
    replicas[0].write(2)
    replicas[1].write(1)
    await settled(replicas, 3 * COST)
    await replicas[0].books.aclose()
    replicas[0].books = Bookkeeping(replicas[0].state, SpendingMetrics(CollectorRegistry()), time.time, {})
    replicas[0].books.know(Registry(spending=Spending(store=settings)))
    replicas[0].write(1)
    await asyncio.gather(*(each.step() for each in replicas))
    await settled(replicas, 4 * COST)


async def test_an_instance_s_own_share_is_nobody_else_s(replicas: list[Replica], redis: RedisServer) -> None:
    """What was counted here while the store was away stays here; the budget itself is told beside it."""
    local = replace(HELD, counter=LOCAL + HELD.counter, limit=0)
    account = replace(ACCOUNT, reservation="r-1", held=(HELD, local))
    with replicas[0].state.access_log.open("ab") as log:
        log.write(request_line("r-1", account) + b"\n")
    await settled(replicas, COST)
    with redis.client() as client:
        names = [str(name) for name in client.scan_iter()]
    assert any(HELD.counter in name for name in names)
    assert not [name for name in names if LOCAL in name]


async def test_what_a_client_left_is_given_back_everywhere(replicas: list[Replica], redis: RedisServer) -> None:
    """Nobody knows what was set aside for a request without a decision: it is found, also when the store was away."""
    await settled(replicas, 0)
    store = replicas[0].books.store
    assert store is not None
    now = time.time()
    holds = [Hold(name, HELD.bucket, HELD.since, 100, 10**9, "enforce", HELD.expires_at) for name in (HELD.counter, "other")]
    await store.reserve("b-1", holds, now + 600, now)
    redis.pause()
    left = {"attempts": 0, "tried": None, "deployment": None, "status": 0, "flags": "DC"}
    with replicas[0].state.access_log.open("ab") as log:
        log.write(request_line("b-1", None, **left) + b"\n")
    await stepped(replicas[:1], lambda: replicas[0].figure("router_store_behind_seconds") > 0)
    redis.go_on()
    await settled(replicas, 0)
    with redis.client() as client:
        assert not [*client.scan_iter("router:*:held:*"), *client.scan_iter("router:*:of:*")]


def entry(action: str) -> AuditEntry:
    return AuditEntry(f"{action}-{time.monotonic_ns()}", time.time(), "local", action, "k1")


async def test_keys_and_raises_are_everywhere(replicas: list[Replica], redis: RedisServer) -> None:
    """Made here, found there; revoked there, gone here; each leaves its flag. Without the store nothing is changed or lost."""
    first, second, _ = replicas
    await asyncio.gather(*(each.step() for each in replicas))
    grant = KeyGrant("k1", "acme", ((digest_of(SHOWN, b"0123456789abcdef"), None),))
    await first.identities.put_key(grant, entry("key.create"))
    await first.identities.add_raise(StoredRaise("r1", "month", Raise(5, time.time() + 60)), entry("budget.raise"))
    await asyncio.gather(*(each.step() for each in replicas))
    for each in replicas:
        found = await each.identities.find("k1")
        assert found is not None
        assert proves(found, SHOWN, time.time())
        assert each.state.keys_exist.exists()
        assert [one.amount for one in (await each.identities.raises())["month"]] == [5]
        audit = await each.identities.audit(before=None, limit=10)
        assert {one.action for _, one in audit} == {"key.create", "budget.raise"}
    await second.identities.put_key(replace(grant, revoked_at=time.time()), entry("key.revoke"))
    await first.step()
    found = await first.identities.find("k1")
    assert found is not None
    assert not proves(found, SHOWN, time.time())
    redis.kill()
    with pytest.raises(StoreUnavailableError):
        await first.identities.put_key(grant, entry("key.create"))
    assert await first.identities.find("k1") == found
    redis.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        await asyncio.gather(*(each.step() for each in replicas))
        try:
            await first.identities.put_key(replace(grant, id="k2"), entry("key.create"))
            break
        except StoreUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
    await second.step()
    assert [key.id for key in await second.identities.keys(tenant=None, after="", limit=10)] == ["k1", "k2"]
