"""Two instances over a real Redis: what one finds out the other goes by, and a Redis that is away takes nothing from either."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from router_extproc.observer.health import FAILURE, PROBE_SECONDS, SUCCESS, Breakers, Evidence
from router_extproc.observer.health_exchange import HealthExchange
from router_extproc.observer.options import Cooling
from router_extproc.observer.shared_health import TURN_SECONDS
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth, claim_name
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.redis_health import STALE_SECONDS
from tests.redis_servers import RedisServer, single_redis

D = "openai/small"
NOW = 1_790_000_000.0


class Instance:
    """One of several, with a clock that all of a test share."""

    def __init__(self, name: str, server: RedisServer, folder: Path, clock: list[float]) -> None:
        self.name, self.clock = name, clock
        self.settings = StoreSettings(kind="redis", urls=(server.url,), deadline_ms=5_000)
        self.probes = folder / name
        self.probes.mkdir()
        self.breakers = Breakers(Cooling(failures=1, time_ms=5_000), lambda: f"probe-of-{name}")
        self.exchange = HealthExchange(name, self.breakers, self.probes, {}, lambda: clock[0])

    async def step(self) -> None:
        await self.exchange.step(self.settings, {D})

    def end(self, kind: str, **more: float) -> None:
        self.breakers.record(D, Evidence(kind, self.clock[0], **more), self.clock[0])

    def health(self) -> DeploymentHealth:
        now = self.clock[0]
        return self.exchange.together(self.breakers.view(now), {D}, now).get(D, DeploymentHealth())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with single_redis(tmp_path / "redis") as started:
        yield started


@pytest_asyncio.fixture
async def pair(server: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Instance, Instance]]:
    clock = [NOW]
    one, two = (Instance(name, server, tmp_path, clock) for name in ("one", "two"))
    yield one, two
    await one.exchange.aclose()
    await two.exchange.aclose()


async def step(*instances: Instance) -> None:
    """Twice, so that each has heard what all said."""
    for _ in range(2):
        for instance in instances:
            await instance.step()


async def test_what_one_finds_the_other_goes_by(pair: tuple[Instance, Instance]) -> None:
    """Cooling, its end, latencies and quotas; the other has never called the deployment."""
    one, two = pair
    one.end(SUCCESS, time_to_first_byte_ms=70.0, quota_until=NOW + 3)
    one.end(FAILURE)
    await step(one, two)
    assert two.health() == DeploymentHealth(OPEN, None, NOW + 5, time_to_first_byte_ms=70, quota_until=NOW + 3)
    assert one.exchange.instances() == two.exchange.instances() == 2
    one.clock[0] = NOW + 5.5
    two.end(SUCCESS)
    await step(one, two)
    assert one.health().state == two.health().state == CLOSED


async def test_one_of_both_probes(pair: tuple[Instance, Instance]) -> None:
    """One at a time has a probe to give; once it was taken the other has none, until it must have been lost."""
    one, two = pair
    one.end(FAILURE)
    await step(one, two)
    one.clock[0] = NOW + 5.1
    await step(one, two)
    assert one.health().state == two.health().state == HALF_OPEN
    having = [instance for instance in pair if instance.health().probe is not None]
    assert len(having) == 1
    taken_at = one.clock[0]
    claim = having[0].probes / claim_name(having[0].health().probe or "")
    claim.touch()
    # The file's own time is of another clock than the test's.
    os.utime(claim, (taken_at, taken_at))
    other = two if having == [one] else one
    seen = set()
    while one.clock[0] < taken_at + PROBE_SECONDS - TURN_SECONDS:
        await step(one, two)
        seen.add(other.health().probe)
        one.clock[0] += 0.5
    assert seen == {None}
    one.clock[0] = taken_at + PROBE_SECONDS
    turns = set()
    for _ in range(8):
        one.clock[0] += 0.5
        await step(one, two)
        turns |= {instance.name for instance in pair if instance.health().probe is not None}
    assert turns == {"one", "two"}


async def test_who_stood_still_lets_nobody_probe_before_it_has_heard_the_others(pair: tuple[Instance, Instance]) -> None:
    """What it heard is too old by then, and the others may be at it; with their word it takes its turns again."""
    one, two = pair
    one.end(FAILURE)
    await step(one, two)
    one.clock[0] = NOW + 5 + STALE_SECONDS
    assert one.health().state == two.health().state == HALF_OPEN
    assert one.health().probe is two.health().probe is None
    await step(one, two)
    assert len([instance for instance in pair if instance.health().probe is not None]) == 1


async def test_redis_away_takes_nothing(
    server: RedisServer, pair: tuple[Instance, Instance], caplog: pytest.LogCaptureFixture
) -> None:
    """Each goes by its own findings and what it had heard, says once that it is alone, and once that it is not any more."""
    caplog.set_level(logging.WARNING, logger="router_extproc.observer.health_exchange")
    one, two = pair
    one.end(FAILURE)
    await step(one, two)
    server.kill()
    await step(one, two)
    one.clock[0] += STALE_SECONDS
    assert one.exchange.instances() == two.exchange.instances() == 1
    assert one.health().state == two.health().state == OPEN
    one.clock[0] = NOW + 5
    await step(one, two)
    assert (one.health().probe, two.health().probe) == ("probe-of-one", "probe-of-two")
    server.start()
    async with asyncio.timeout(20):
        while True:
            await step(one, two)
            if one.exchange.instances() == two.exchange.instances() == 2:
                break
            await asyncio.sleep(0.02)  # connections are mended beside this
    said = [record.message.rpartition(" ")[2] for record in caplog.records if record.name.endswith("health_exchange")]
    assert sorted(said) == ["again", "again", "findings", "findings"]


async def test_what_cannot_be_read_says_nothing(server: RedisServer, pair: tuple[Instance, Instance]) -> None:
    """Another version's word, or none at all, takes nothing from what is understood."""
    one, two = pair
    one.end(FAILURE)
    await step(one, two)
    with server.client() as client:
        at = client.hget("router:{r0}:health:seen", "one")
        for name, word in {"odd": "1 [[[", "other": '1 {"findings":{"openai/small":"shut"}}'}.items():
            client.hset("router:{r0}:health:words", name, word)
            client.hset("router:{r0}:health:seen", name, str(at))
    await step(one, two)
    assert two.health().state == OPEN
    assert two.exchange.instances() == 4


async def test_the_embedded_store_shares_nothing(pair: tuple[Instance, Instance]) -> None:
    """With the store of one machine an instance is alone, also when it was not before."""
    one, two = pair
    await step(one, two)
    one.settings = StoreSettings()
    await one.step()
    assert one.exchange.instances() == 1
    one.end(FAILURE)
    await step(one, two)
    assert two.health().state == CLOSED
