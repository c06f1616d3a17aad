"""What is left of a dead Envoy's requests, on both stores: found once another Envoy is there, and never before."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from router_extproc.limits.without_store import LOCAL
from router_extproc.observer.orphans import HeardEnvoy, Orphans
from router_extproc.observer.telling import Telling
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import CounterStore, Level, Query, Release, StoreUnavailableError
from router_extproc.store.ledger import Ledger
from router_extproc.store.lives import Lives, counter_of
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.redis_servers import RedisServer, single_redis
from tests.store.redis_counting import NOW, UNTIL, hold, ready

SLOTS, MONEY = "parallel:slots|key=k1", "usd:house"


class Clock:
    """Seconds that pass when it is told so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """One instance: a worker that sets aside, and an observer that may be replaced."""

    def __init__(self, folder: Path, settings: StoreSettings | None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.clock = folder, Clock()
        self.lives = Lives(folder / "lives")
        self.ledger = Ledger(folder / "ledger.sqlite", tells=settings is not None)
        self.local = SqliteCounters(folder / "ledger.sqlite")
        self.redis = None if settings is None else RedisCounters(settings, {}, self.ledger.instance)
        self.store: CounterStore = self.local if self.redis is None else self.redis
        self.start_observer()

    def start_observer(self) -> None:
        """What one that was killed knew is gone."""
        self.envoy = HeardEnvoy(self.clock)
        self.orphans = Orphans(self.lives, self.envoy, self.ledger, self.redis, self.clock)
        self.telling = None if self.redis is None else Telling(self.ledger, self.redis)

    async def aclose(self) -> None:
        await self.local.aclose()
        if self.redis is not None:
            await self.redis.aclose()
        self.ledger.close()

    async def admit(self, request: str, life: str, store: CounterStore | None = None, local: str = "") -> Release:
        """What it has set aside, as its line would say it."""
        slots, money = local + SLOTS, local + MONEY
        holds = [hold(slots, 1, 5), hold(money, 7, 99), hold(counter_of(self.lives.mark(life), slots), 1, 0, "count")]
        verdict = await (store or self.store).reserve(request, holds, UNTIL, NOW)
        assert not verdict.refused
        return Release(request, tuple(each.counter for each in holds))

    async def hear(self, *names: str, seconds: float = 0.5) -> None:
        """Envoy checks, and some seconds pass, again and again; a name that is empty says nothing."""
        for name in names:
            if name:
                self.envoy.hear(name)
            await self.orphans.step()
            self.clock.now += seconds
        while self.telling is not None and await self.telling.step(NOW):
            pass

    async def taken(self, *counters: str) -> list[int]:
        return [level.held for level in await self.store.read([Query(name, 0) for name in counters or (SLOTS,)], NOW)]

    def files(self) -> int:
        return len(list((self.folder / "lives").iterdir()))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def _shared(server: RedisServer, prefix: str) -> StoreSettings:
    return StoreSettings(kind="redis", urls=(server.url,), deadline_ms=500, prefix=prefix)


@pytest.fixture(params=["sqlite", "redis"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    settings = None
    if request.param == "redis":
        settings = _shared(request.getfixturevalue("redis"), "".join(filter(str.isalnum, request.node.name)))
    made = Scene(tmp_path, settings)
    if made.redis is not None:
        await ready(made.redis)
    yield made
    await made.aclose()


async def test_the_places_of_a_dead_envoy_are_free_and_its_money_is_not(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """As soon as another life has been the only one for a while; its own requests stay, and the log tells how many went."""
    for number in range(3):
        await scene.admit(f"old-{number}", "one")
    await scene.admit("new", "two")
    await scene.hear("two", "two")
    assert await scene.taken() == [4]
    await scene.hear("two")
    assert await scene.taken(SLOTS, MONEY) == [1, 28]
    assert await scene.taken(counter_of(scene.lives.mark("one"), SLOTS), counter_of(scene.lives.mark("two"), SLOTS)) == [0, 1]
    told = [record for record in caplog.records if record.levelno == logging.WARNING and "Envoy died" in record.message]
    assert [record.__dict__["requests"] for record in told] == [3]


@pytest.mark.parametrize(
    "heard",
    [(), ("",) * 9, ("one",) * 9, ("two", "two"), ("one", "two") * 5, ("two", "two", "", "", "", "two", "two")],
    ids=["nothing", "silence", "it", "too-short", "both", "gap"],
)
async def test_what_is_no_end_of_a_life(scene: Scene, heard: Sequence[str]) -> None:
    """Silence, the Envoy itself, another that was heard for too short a time or with a gap, two that take turns."""
    await scene.admit("alive", "one")
    await scene.hear(*heard)
    assert await scene.taken() == [1]


async def test_checks_that_were_held_up_show_nothing(scene: Scene) -> None:
    """An observer that stood still hears what came meanwhile at once, in any order."""
    await scene.admit("alive", "one")
    await scene.hear("one", seconds=60)
    await scene.hear(*("two",) * 9, seconds=0.01)
    await scene.hear("one", "one")
    assert await scene.taken() == [1]


async def test_a_life_is_not_ended_by_the_one_before(scene: Scene) -> None:
    """Its first request may be there before its first check: what was heard until then says nothing about it."""
    await scene.hear(*("one",) * 9)
    await scene.admit("alive", "two")
    await scene.hear("", "", "two")
    assert await scene.taken() == [1]
    await scene.hear("two", "two", "two")
    assert await scene.taken() == [1]


async def test_an_observer_that_is_killed_leaves_nothing_undone(scene: Scene) -> None:
    """The next one has heard nothing and knows no request, and finds all the same; a new observer alone frees nobody."""
    await scene.admit("old", "one")
    await scene.hear("two", "two")
    scene.start_observer()
    await scene.hear("two", "two")
    assert await scene.taken() == [1]
    scene.start_observer()
    await scene.hear("two", "two", "two")
    assert await scene.taken() == [0]
    await scene.admit("new", "two")
    scene.start_observer()
    await scene.hear("two", "two", "two")
    assert await scene.taken() == [1]


async def test_a_worker_may_be_behind(scene: Scene) -> None:
    """What it sets aside for a request of a dead Envoy is found for a quarter of a minute; then the life is forgotten."""
    await scene.admit("old", "one")
    await scene.hear("two", "two", "two")
    await scene.admit("late", "one")
    assert await scene.taken() == [1]
    await scene.hear(*("two",) * 4)
    assert (await scene.taken(), scene.files()) == ([0], 1)
    await scene.hear(*("two",) * 30)
    assert scene.files() == 0


async def test_a_line_that_is_read_afterwards_settles_the_rest(scene: Scene) -> None:
    """The log may lag: a request that had ended gives its money back by its line, whether its place is free already or not."""
    line = await scene.admit("ended", "one")
    await scene.admit("other", "two")
    await scene.hear("two", "two", "two")
    assert await scene.taken(SLOTS, MONEY) == [1, 14]
    scene.ledger.record([], [line])
    await scene.hear("two")
    assert await scene.taken(SLOTS, MONEY) == [1, 7]


async def test_another_instance_keeps_its_places(redis: RedisServer, tmp_path: Path) -> None:
    """Also one whose Envoy was given the same name by whoever starts it."""
    settings = _shared(redis, "two-instances")
    one, other = Scene(tmp_path / "one", settings), Scene(tmp_path / "other", settings)
    try:
        for scene in (one, other):
            assert scene.redis is not None
            await ready(scene.redis)
            await scene.admit(f"of {scene.folder.name}", "same")
        await one.hear("next", "next", "next")
        assert await one.taken() == [1]
        assert await other.redis.under_way(other.lives.mark("same"))  # type: ignore[union-attr]
        await other.hear("next", "next", "next")
        assert await other.taken() == [0]
    finally:
        await one.aclose()
        await other.aclose()


async def test_places_in_this_instances_own_share_are_free_too(scene: Scene) -> None:
    """What was set aside while the shared store was away lies in the ledger."""
    await scene.admit("old", "one", scene.local, LOCAL)
    await scene.hear("two", "two", "two")
    levels = await scene.local.read([Query(LOCAL + name, 0) for name in (SLOTS, MONEY)], NOW)
    assert levels == (Level(0, 0), Level(0, 7))


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path) -> None:
    """It is an error of this step alone, and the life is not forgotten."""
    with single_redis(tmp_path / "redis") as server:
        scene = Scene(tmp_path / "instance", _shared(server, "away"))
        try:
            assert scene.redis is not None
            await ready(scene.redis)
            await scene.admit("old", "one")
            server.pause()
            with pytest.raises(StoreUnavailableError):
                await scene.hear("two", "two", "two")
            assert scene.files() == 1
            server.go_on()
            await ready(scene.redis)
            await scene.hear("two")
            assert await scene.taken() == [0]
        finally:
            await scene.aclose()
